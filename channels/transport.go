package channels

import "github.com/sluicehq/sluice/channels/outbound"

// What the floors above carry and encode, under the names that they know it by.
type (
	Address          = outbound.Address
	Audience         = outbound.Audience
	Builder          = outbound.Builder
	Connection       = outbound.Connection
	ConnectionConfig = outbound.ConnectionConfig
	DropReason       = outbound.DropReason
	Encoder          = outbound.Encoder
	Format           = outbound.Format
	FormatSet        = outbound.FormatSet
	Ref              = outbound.Ref
	Segment          = outbound.Segment
	Status           = outbound.Status
	WriteBatch       = outbound.WriteBatch
)

const (
	DropOverflow   = outbound.DropOverflow
	DropSuperseded = outbound.DropSuperseded
	DropTooSlow    = outbound.DropTooSlow
	DropClosed     = outbound.DropClosed
	DropReplaced   = outbound.DropReplaced
	DropWithheld   = outbound.DropWithheld
	DropUnreadable = outbound.DropUnreadable

	StatusOK    = outbound.StatusOK
	StatusError = outbound.StatusError

	MaxFormats = outbound.MaxFormats
	Raw        = outbound.Raw
)

var ErrSegmentFull = outbound.ErrSegmentFull

func NewConnection(source outbound.Source, config ConnectionConfig) *Connection {
	return outbound.NewConnection(source, config)
}
func NewBuilder(e Encoder) *Builder       { return outbound.NewBuilder(e) }
func Formats(formats ...Format) FormatSet { return outbound.Formats(formats...) }
