package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	kjson "sigs.k8s.io/json"
)

// What a value is replaced with, to see what upstream says.
var odd = []string{`5`, `1.5`, `-99999999999`, `"x"`, `""`, `true`, `[]`, `[5]`, `["x",null]`, `{}`, `{"zz":1}`, `{"zz":null,"zz":{}}`, `null`}

// writeMessages writes messages.tsv into a folder: objects that hold one odd value, and what upstream's strict decoder makes of each.
//
//	GROUP/VERSION KIND JSON SORT RESULT
//
// SORT is "error", "strict" (the unknown and duplicate fields) or "ok"; the result of the last is the object as it is after a trip through
// protobuf, which is how upstream stores it. Of all that there are, every `step`th is written.
func writeMessages(folder string, step int) error {
	all, err := kinds()
	if err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(folder, "messages.tsv"))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	count := 0
	for _, k := range all {
		if isPlainList(k) {
			continue
		}
		f := &filler{name: "full"}
		object := reflect.New(k.go_)
		if err := f.fill(object.Elem(), k.gvk.Kind); err != nil {
			return err
		}
		text, err := json.Marshal(object.Interface())
		if err != nil {
			return err
		}
		var tree any
		if err := json.Unmarshal(text, &tree); err != nil {
			return err
		}
		for _, text := range oddObjects(tree) {
			if count++; count%step != 0 {
				continue
			}
			sort, result, err := decoded(k, text)
			if err != nil {
				return fmt.Errorf("%v %s: %w", k.gvk, text, err)
			}
			if sort == "ok" && !isStable(k, result) {
				continue
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", k.gvk.GroupVersion(), k.gvk.Kind, text, sort, strings.ReplaceAll(result, "\n", " "))
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return file.Close()
}

// isStable says whether an object reads back as it was. Upstream keeps free-form JSON as it came, with keys that come twice, and shows some pointers
// as null; a tree does neither.
func isStable(k kind, text string) bool {
	object := reflect.New(k.go_).Interface()
	var tree any
	if kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), object) != nil || json.Unmarshal([]byte(text), &tree) != nil {
		return false
	}
	again, err := json.Marshal(object)
	sorted, err2 := json.Marshal(tree)
	return err == nil && err2 == nil && string(again) == text && len(sorted) == len(text)
}

// oddObjects gives, for every node of a tree, objects that hold an odd value there and nothing else.
func oddObjects(node any) []string {
	texts := append([]string(nil), odd...)
	switch node := node.(type) {
	case map[string]any:
		var keys []string
		for key := range node {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			name, _ := json.Marshal(key)
			for _, inner := range oddObjects(node[key]) {
				texts = append(texts, fmt.Sprintf("{%s:%s}", name, inner))
			}
			texts = append(texts, fmt.Sprintf("{%s:null,%s:null}", name, name))
		}
	case []any:
		if len(node) > 0 {
			for _, inner := range oddObjects(node[0]) {
				texts = append(texts, "["+inner+"]")
			}
		}
	}
	return texts
}

func decoded(k kind, text string) (sort, result string, err error) {
	object := reflect.New(k.go_).Interface()
	strict, failure := kjson.UnmarshalStrict([]byte(text), object)
	if failure != nil {
		return "error", failure.Error(), nil
	}
	if len(strict) > 0 {
		var all []string
		for _, one := range strict {
			all = append(all, one.Error())
		}
		return "strict", strings.Join(all, ", "), nil
	}
	meta := reflect.ValueOf(object).Elem().FieldByName("TypeMeta")
	if m, ok := object.(interface {
		message
		Unmarshal([]byte) error
	}); ok {
		wire, err := m.Marshal()
		if err != nil {
			return "", "", err
		}
		again := reflect.New(k.go_)
		if err := again.Interface().(interface{ Unmarshal([]byte) error }).Unmarshal(wire); err != nil {
			return "", "", err
		}
		if meta.IsValid() {
			again.Elem().FieldByName("TypeMeta").Set(meta)
		}
		object = again.Interface()
	}
	encoded, err := json.Marshal(object)
	return "ok", string(bytes.TrimSpace(encoded)), err
}
