package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"sort"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/generated/openapi"
)

// Types whose JSON form is not that of their Go struct.
var special = map[reflect.Type]string{
	reflect.TypeFor[resource.Quantity]():                            "quantity",
	reflect.TypeFor[intstr.IntOrString]():                           "intorstring",
	reflect.TypeFor[metav1.Time]():                                  "time",
	reflect.TypeFor[metav1.MicroTime]():                             "microtime",
	reflect.TypeFor[metav1.Duration]():                              "duration",
	reflect.TypeFor[metav1.FieldsV1]():                              "fields",
	reflect.TypeFor[runtime.RawExtension]():                         "any",
	reflect.TypeFor[apiextensionsv1.JSON]():                         "any",
	reflect.TypeFor[apiextensionsv1.JSONSchemaPropsOrArray]():       "orlist",
	reflect.TypeFor[apiextensionsv1.JSONSchemaPropsOrBool]():        "orbool",
	reflect.TypeFor[apiextensionsv1.JSONSchemaPropsOrStringArray](): "orstrings",
}

type named interface{ OpenAPIModelName() string }

// A message that upstream generated protobuf code for.
type message interface{ Marshal() ([]byte, error) }

type table struct {
	out   io.Writer
	docs  map[string]common.OpenAPIDefinition
	queue []reflect.Type
	known map[reflect.Type]bool
}

// writeTable writes three sorts of lines, with tabs between the columns:
//
//	kind   GROUP VERSION KIND TYPE         the core group is "-"
//	type   NAME GO [ATTRIBUTE…]            a struct; its fields follow, in the order in which they are encoded
//	       NAME KIND [ATTRIBUTE…]          a field (the line begins with a tab)
//
// A KIND is a scalar, `@TYPE`, `[ITEM` or `{VALUE`; `[=` is a list that protobuf wraps in a message.
func writeTable(out io.Writer) error {
	all, err := kinds()
	if err != nil {
		return err
	}
	t := &table{
		out:   out,
		docs:  openapi.GetOpenAPIDefinitions(func(name string) spec.Ref { return spec.MustCreateRef(name) }),
		known: map[reflect.Type]bool{},
	}
	for _, k := range all {
		name, err := t.reference(k.go_)
		if err != nil {
			return err
		}
		group := k.gvk.Group
		if group == "" {
			group = "-"
		}
		fmt.Fprintf(out, "kind\t%s\t%s\t%s\t%s\n", group, k.gvk.Version, k.gvk.Kind, name)
	}
	for len(t.queue) > 0 {
		next := t.queue
		t.queue = nil
		sort.Slice(next, func(i, j int) bool { return modelName(next[i]) < modelName(next[j]) })
		for _, g := range next {
			if err := t.writeType(g); err != nil {
				return err
			}
		}
	}
	return nil
}

func modelName(g reflect.Type) string {
	if n, ok := reflect.New(g).Interface().(named); ok {
		return n.OpenAPIModelName()
	}
	return ""
}

func (t *table) reference(g reflect.Type) (string, error) {
	name := modelName(g)
	if name == "" {
		return "", fmt.Errorf("%v has no OpenAPI name", g)
	}
	if !t.known[g] {
		t.known[g] = true
		t.queue = append(t.queue, g)
	}
	return name, nil
}

func (t *table) writeType(g reflect.Type) error {
	name := modelName(g)
	doc, documented := t.docs[name]
	columns := []string{"type", name, g.Name()}
	if documented {
		for key, value := range doc.Schema.Extensions {
			switch {
			case key == "x-kubernetes-map-type" && value == "atomic":
				columns = append(columns, "atomic")
			case key == "x-kubernetes-unions":
				text, err := json.Marshal(value)
				if err != nil {
					return err
				}
				columns = append(columns, "union="+string(text))
			default:
				return fmt.Errorf("%s: what is %s: %v?", name, key, value)
			}
		}
	}
	sort.Strings(columns[3:])
	fmt.Fprintln(t.out, strings.Join(columns, "\t"))
	_, isMessage := reflect.New(g).Interface().(message)
	return t.writeFields(g, &doc.Schema, []string{}, isMessage, nil)
}

// writeFields writes a struct's fields, those of inlined structs in their place. `path` is the protobuf path so far, if `wired`.
func (t *table) writeFields(g reflect.Type, doc *spec.Schema, path []string, wired bool, via []string) error {
	for i := range g.NumField() {
		f := g.Field(i)
		jsonTag, isTagged := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(jsonTag, ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		number := protobufNumber(f)
		inner := append(path[:len(path):len(path)], number)
		innerWired := wired && number != ""
		if f.Anonymous && name == "" {
			if f.Type.Kind() != reflect.Struct {
				return fmt.Errorf("%v.%s: inlined, but not a struct", g, f.Name)
			}
			if err := t.writeFields(f.Type, doc, inner, innerWired, append(via[:len(via):len(via)], f.Name)); err != nil {
				return err
			}
			continue
		}
		if !isTagged || name == "" {
			return fmt.Errorf("%v.%s has no JSON name", g, f.Name)
		}
		columns, err := t.field(f, name, options, doc)
		if err != nil {
			return fmt.Errorf("%v.%s: %w", g, f.Name, err)
		}
		if innerWired {
			columns = append(columns, "pb="+strings.Join(inner, "."))
		}
		if len(via) > 0 {
			columns = append(columns, "via="+strings.Join(via, "."))
		}
		fmt.Fprintln(t.out, "\t"+strings.Join(columns, "\t"))
	}
	return nil
}

func protobufNumber(f reflect.StructField) string {
	tag := f.Tag.Get("protobuf")
	if tag == "" || tag == "-" {
		return ""
	}
	return strings.Split(tag, ",")[1]
}

func (t *table) field(f reflect.StructField, name, options string, doc *spec.Schema) ([]string, error) {
	g := f.Type
	columns := []string{name, ""}
	if g.Kind() == reflect.Pointer {
		columns = append(columns, "ptr")
		g = g.Elem()
	}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "":
		case "omitempty":
			columns = append(columns, "oe")
		case "omitzero":
			columns = append(columns, "oz")
		default:
			return nil, fmt.Errorf("json option %q", option)
		}
	}
	kind, err := t.kind(g)
	if err != nil {
		return nil, err
	}
	columns[1] = kind
	if isNamed(g) {
		columns = append(columns, "go="+g.String())
	}
	if strategy := f.Tag.Get("patchStrategy"); strategy != "" {
		columns = append(columns, "ps="+strategy)
	}
	if key := f.Tag.Get("patchMergeKey"); key != "" {
		columns = append(columns, "pk="+key)
	}
	property, ok := doc.Properties[name]
	if !ok {
		if len(doc.Properties) > 0 {
			return nil, fmt.Errorf("OpenAPI has no property %s", name)
		}
		return columns, nil
	}
	facts, err := published(&property, kind)
	if err != nil {
		return nil, err
	}
	for _, required := range doc.Required {
		if required == name {
			columns = append(columns, "req")
		}
	}
	return append(columns, facts...), nil
}

// published says what OpenAPI knows of a field beside its type.
func published(property *spec.Schema, kind string) ([]string, error) {
	var facts []string
	for key, value := range property.Extensions {
		switch key {
		case "x-kubernetes-list-type":
			facts = append(facts, "lt="+value.(string))
		case "x-kubernetes-list-map-keys":
			var keys []string
			for _, key := range value.([]interface{}) {
				keys = append(keys, key.(string))
			}
			facts = append(facts, "lk="+strings.Join(keys, ","))
		case "x-kubernetes-map-type":
			facts = append(facts, "mt="+value.(string))
		case "x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key":
		default:
			return nil, fmt.Errorf("what is %s: %v?", key, value)
		}
	}
	if property.Default != nil {
		text, err := json.Marshal(property.Default)
		if err != nil {
			return nil, err
		}
		facts = append(facts, "def="+string(text))
	}
	values := property.Enum
	inner := property
	if property.Items != nil {
		inner = property.Items.Schema
	} else if property.AdditionalProperties != nil {
		inner = property.AdditionalProperties.Schema
	}
	if inner != property {
		if inner.Default != nil {
			return nil, fmt.Errorf("an item has a default: %v", inner.Default)
		}
		values = inner.Enum
	}
	if len(values) > 0 {
		var texts []string
		for _, value := range values {
			texts = append(texts, value.(string))
		}
		facts = append(facts, "enum="+strings.Join(texts, "|"))
	}
	implied := map[string]string{"i32": "int32", "i64": "int64", "f64": "double", "bytes": "byte"}
	if property.Format != "" && property.Format != implied[kind] {
		facts = append(facts, "format="+property.Format)
	}
	if property.Minimum != nil || property.Maximum != nil || property.Pattern != "" || property.MinLength != nil || property.MaxLength != nil {
		return nil, fmt.Errorf("has value checks")
	}
	sort.Strings(facts)
	return facts, nil
}

func (t *table) kind(g reflect.Type) (string, error) {
	if kind, ok := special[g]; ok {
		if strings.HasPrefix(kind, "or") {
			name, err := t.reference(reflect.TypeFor[apiextensionsv1.JSONSchemaProps]())
			return kind + "@" + name, err
		}
		return kind, nil
	}
	switch g.Kind() {
	case reflect.Bool:
		return "bool", nil
	case reflect.Int32:
		return "i32", nil
	case reflect.Int64, reflect.Int:
		return "i64", nil
	case reflect.Float64:
		return "f64", nil
	case reflect.String:
		return "str", nil
	case reflect.Struct:
		name, err := t.reference(g)
		return "@" + name, err
	case reflect.Slice:
		if g.Elem().Kind() == reflect.Uint8 {
			return "bytes", nil
		}
		item, err := t.kind(g.Elem())
		if _, wrapped := reflect.New(g).Interface().(message); wrapped {
			return "[=" + item, err
		}
		return "[" + item, err
	case reflect.Map:
		if g.Key().Kind() != reflect.String {
			return "", fmt.Errorf("map with keys of type %v", g.Key())
		}
		value, err := t.kind(g.Elem())
		return "{" + value, err
	}
	return "", fmt.Errorf("no kind for type %v", g)
}

// isNamed says whether Go's name of a type cannot be told from its kind.
func isNamed(g reflect.Type) bool {
	if _, ok := special[g]; ok {
		// Two types are free-form JSON, of which one gives the kind its name.
		return g == reflect.TypeFor[apiextensionsv1.JSON]()
	}
	switch g.Kind() {
	case reflect.Slice:
		return g.Name() != "" || isNamed(g.Elem())
	case reflect.Map:
		return g.Name() != "" || isNamed(g.Key()) || isNamed(g.Elem())
	case reflect.Struct:
		return false
	case reflect.Int:
		return true
	}
	return g.Name() != strconv.Quote("") && g.PkgPath() != ""
}
