package sluice

import (
	"reflect"
	"testing"
	"time"
)

// TestZeroFieldsAreTheDefaults has each field by itself be zero, and all together.
func TestZeroFieldsAreTheDefaults(t *testing.T) {
	t.Parallel()
	want := DefaultConfig()
	if got := (Config{}).withDefaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("the zero Config stands for %+v", got)
	}
	for i, field := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		one := DefaultConfig()
		reflect.ValueOf(&one).Elem().Field(i).SetZero()
		if got := one.withDefaults(); !reflect.DeepEqual(got, want) {
			t.Errorf("with %s zero: %+v", field.Name, got)
		}
	}
}

// TestNothingAtAllIsNoDefault keeps what was meant to be nothing from becoming the
// default, by whichever way it is said.
func TestNothingAtAllIsNoDefault(t *testing.T) {
	t.Parallel()
	c := Config{
		Retention: Unlimited, Recent: None, DrainTimeout: None,
		Migrate: new(false), JWTRequireExp: new(false), StatsDPrefix: new(""),
		Listen: NoListener, AdminListen: NoListener, Anonymous: new(true),
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	got := c.withDefaults()
	if got.Retention != 0 || got.Recent != 0 || got.DrainTimeout != 0 || *got.Migrate || *got.JWTRequireExp || *got.StatsDPrefix != "" {
		t.Errorf("%+v", got)
	}
	if got.Listen != NoListener || got.AdminListen != NoListener || got.PollInterval != 100*time.Millisecond {
		t.Errorf("%+v", got)
	}
}
