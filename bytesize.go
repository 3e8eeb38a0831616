package sluice

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes, written as "64KiB", "8MiB", "1GB" or plain
// "4096". Binary units (IEC 80000-13: KiB, MiB, GiB) count by 1024, decimal
// ones (kB, MB, GB) by 1000.
type ByteSize int64

var byteUnits = []struct {
	suffix string // in lower case
	size   int64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9},
	{"b", 1},
}

// ParseByteSize reads a size as people write it, in any case, with or without
// a space before the unit.
func ParseByteSize(s string) (ByteSize, error) {
	number, unit := strings.ToLower(strings.TrimSpace(s)), int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is no size: write 4096, 64KiB or 8MiB", s)
	}
	if hi, lo := bits.Mul64(n, uint64(unit)); hi != 0 || lo > 1<<62 {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return ByteSize(int64(n) * unit), nil
}

// String writes the size in the largest binary unit that divides it.
func (b ByteSize) String() string {
	for _, u := range []int{2, 1, 0} {
		if unit := byteUnits[u]; b != 0 && int64(b)%unit.size == 0 {
			return strconv.FormatInt(int64(b)/unit.size, 10) + []string{"KiB", "MiB", "GiB"}[u]
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// writeBytes writes a number of bytes for who has no ByteSize.
func writeBytes(bytes int64) string { return ByteSize(bytes).String() }

// MarshalText and UnmarshalText let flags, environment and YAML carry sizes.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *ByteSize) UnmarshalText(text []byte) error {
	size, err := ParseByteSize(string(text))
	if err != nil {
		return err
	}
	*b = size
	return nil
}
