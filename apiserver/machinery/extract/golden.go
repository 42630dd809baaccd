package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// writeGolden writes two files into a folder, with one line per kind and tabs between the columns:
//
//	GROUP/VERSION KIND JSON PROTOBUF      the last in base64, without envelope; "-" where the kind has none
//
// In full.tsv every field holds something; in hollow.tsv every pointer, list and map holds one zero value.
func writeGolden(folder string) error {
	all, err := kinds()
	if err != nil {
		return err
	}
	for _, f := range []*filler{{name: "full"}, {name: "hollow", hollow: true}} {
		file, err := os.Create(filepath.Join(folder, f.name+".tsv"))
		if err != nil {
			return err
		}
		out := bufio.NewWriter(file)
		for _, k := range all {
			if isPlainList(k) {
				continue
			}
			if err := f.writeKind(out, k); err != nil {
				return fmt.Errorf("%v: %w", k.gvk, err)
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}

// All lists of kinds are alike, so a few stand for them.
func isPlainList(k kind) bool {
	_, has := k.go_.FieldByName("Items")
	return has && k.gvk.Kind != "ConfigMapList" && k.gvk.Kind != "PartialObjectMetadataList" && k.gvk.Kind != "List"
}

type filler struct {
	name   string
	hollow bool
	count  int
	open   []reflect.Type
}

func (f *filler) writeKind(out *bufio.Writer, k kind) error {
	f.count = 0
	object := reflect.New(k.go_)
	if err := f.fill(object.Elem(), k.gvk.Kind); err != nil {
		return err
	}
	if meta := object.Elem().FieldByName("TypeMeta"); meta.IsValid() {
		meta.Set(reflect.ValueOf(metav1.TypeMeta{Kind: k.gvk.Kind, APIVersion: k.gvk.GroupVersion().String()}))
	}
	text, err := json.Marshal(object.Interface())
	if err != nil {
		return err
	}
	wire := "-"
	if m, ok := object.Interface().(message); ok {
		bytes, err := m.Marshal()
		if err != nil {
			return err
		}
		wire = base64.StdEncoding.EncodeToString(bytes)
	}
	_, err = fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", k.gvk.GroupVersion(), k.gvk.Kind, text, wire)
	return err
}

func (f *filler) next() int {
	f.count++
	return f.count
}

func (f *filler) fill(v reflect.Value, name string) error {
	if done := f.special(v); done {
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		return f.pointer(v, name)
	case reflect.Struct:
		return f.fields(v)
	case reflect.Slice:
		return f.slice(v, name)
	case reflect.Map:
		return f.pairs(v, name)
	}
	if f.hollow {
		return nil
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int:
		v.SetInt(int64(f.next() * 37))
	case reflect.Int64:
		v.SetInt(int64(f.next()) * -1_000_000_007)
	case reflect.Float64:
		v.SetFloat(float64(f.next()) + 0.5)
	case reflect.String:
		v.SetString(fmt.Sprintf("%s-%d", strings.ToLower(name), f.next()))
	default:
		return fmt.Errorf("cannot fill a %v", v.Type())
	}
	return nil
}

func (f *filler) isOpen(t reflect.Type) bool {
	for _, open := range f.open {
		if open == t {
			return true
		}
	}
	return false
}

// A type inside itself is left empty, or there would be no end.
func (f *filler) stops(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct && f.isOpen(t)
}

func (f *filler) pointer(v reflect.Value, name string) error {
	inner := v.Type().Elem()
	if f.stops(inner) {
		return nil
	}
	if _, is := special[inner]; is && f.hollow {
		// A pointer to a zero time and its like is shown as null, and reads back as none.
		if text, err := json.Marshal(reflect.Zero(inner).Interface()); err != nil || string(text) == "null" {
			return err
		}
	}
	v.Set(reflect.New(inner))
	return f.fill(v.Elem(), name)
}

func (f *filler) fields(v reflect.Value) error {
	f.open = append(f.open, v.Type())
	defer func() { f.open = f.open[:len(f.open)-1] }()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Type == reflect.TypeFor[metav1.TypeMeta]() || field.Tag.Get("json") == "-" {
			continue
		}
		if err := f.fill(v.Field(i), field.Name); err != nil {
			return fmt.Errorf("%s: %w", field.Name, err)
		}
	}
	return nil
}

func (f *filler) slice(v reflect.Value, name string) error {
	item := v.Type().Elem()
	if f.stops(item) {
		return nil
	}
	if item.Kind() == reflect.Uint8 {
		if !f.hollow {
			v.SetBytes([]byte{0, 255, byte(f.next())})
		}
		return nil
	}
	count := 1
	if item.Kind() != reflect.Struct && !f.hollow {
		count = 2
	}
	for range count {
		one := reflect.New(item).Elem()
		if err := f.fill(one, name); err != nil {
			return err
		}
		v.Set(reflect.Append(v, one))
	}
	return nil
}

func (f *filler) pairs(v reflect.Value, name string) error {
	if f.stops(v.Type().Elem()) {
		return nil
	}
	v.Set(reflect.MakeMap(v.Type()))
	keys := []string{"b", "a<b"}
	if f.hollow {
		keys = []string{""}
	}
	for _, key := range keys {
		value := reflect.New(v.Type().Elem()).Elem()
		if err := f.fill(value, name); err != nil {
			return err
		}
		if f.hollow && value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.Uint8 {
			value.SetBytes([]byte{})
		}
		v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), value)
	}
	return nil
}

// special fills a type that has a form of its own, and says whether it did.
func (f *filler) special(v reflect.Value) bool {
	if _, is := special[v.Type()]; !is {
		return false
	}
	if f.hollow {
		return true
	}
	n := f.next()
	moment := time.Date(2026, 11, 24, 22, n%60, 5, 123456000, time.UTC)
	raw := []byte(fmt.Sprintf(`{"a":[%d,null,true],"b":{"c":"d"}}`, n))
	var value any
	switch v.Interface().(type) {
	case resource.Quantity:
		value = resource.MustParse([]string{"100m", "1536Mi", "5", "12e3", "0.5Gi", "1.5", "10Gi"}[n%7])
	case intstr.IntOrString:
		value = []intstr.IntOrString{intstr.FromInt32(int32(n)), intstr.FromString("25%")}[n%2]
	case metav1.Time:
		value = metav1.NewTime(moment.Truncate(time.Second))
	case metav1.MicroTime:
		value = metav1.NewMicroTime(moment)
	case metav1.Duration:
		value = metav1.Duration{Duration: time.Duration(n) * 1500 * time.Millisecond}
	case metav1.FieldsV1:
		value = *metav1.NewFieldsV1(fmt.Sprintf(`{"f:a":{"k:{\"name\":\"x%d\"}":{".":{}}}}`, n))
	case runtime.RawExtension:
		value = runtime.RawExtension{Raw: raw}
	case apiextensionsv1.JSON:
		value = apiextensionsv1.JSON{Raw: raw}
	case apiextensionsv1.JSONSchemaPropsOrArray:
		value = apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "string"}}
	case apiextensionsv1.JSONSchemaPropsOrBool:
		value = []apiextensionsv1.JSONSchemaPropsOrBool{{Allows: true, Schema: &apiextensionsv1.JSONSchemaProps{Type: "string"}}, {Allows: true}}[n%2]
	case apiextensionsv1.JSONSchemaPropsOrStringArray:
		value = []apiextensionsv1.JSONSchemaPropsOrStringArray{{Schema: &apiextensionsv1.JSONSchemaProps{Type: "string"}}, {Property: []string{"x", "y"}}}[n%2]
	}
	v.Set(reflect.ValueOf(value))
	return true
}
