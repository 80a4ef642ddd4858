package turn_test

import (
	"reflect"
	"testing"

	"github.com/parley-rtc/parley/protocol/turn"
)

func TestEveryDropHasAName(t *testing.T) {
	seen := map[string]turn.Drop{}
	for _, d := range turn.Drops() {
		if other, twice := seen[d.String()]; twice || d.String() == "" {
			t.Errorf("drops %d and %d are both called %q", other, d, d)
		}
		seen[d.String()] = d
	}
	if got := turn.Drop(200).String(); got != "unknown reason" {
		t.Errorf("a drop that is none is called %q", got)
	}
}

// Add sums every field: each number of the first is 1, of the second 2, of the sum 3.
func TestCountersAdd(t *testing.T) {
	var one, two turn.Counters
	fill(reflect.ValueOf(&one).Elem(), 1)
	fill(reflect.ValueOf(&two).Elem(), 2)
	one.Add(&two)
	var want turn.Counters
	fill(reflect.ValueOf(&want).Elem(), 3)
	if one != want {
		t.Errorf("the sum is %+v", one)
	}
}

// fill sets every number in v to n.
func fill(v reflect.Value, n uint64) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Int:
		v.SetInt(int64(n))
	default:
		v.SetUint(n)
	}
}
