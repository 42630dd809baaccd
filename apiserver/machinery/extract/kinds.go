package main

import (
	"fmt"
	"reflect"
	"sort"

	admissionv1 "k8s.io/api/admission/v1"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// The group versions whose kinds the table holds: what an API server serves by default, and what it exchanges with webhooks and clients.
var served = map[schema.GroupVersion]bool{
	{Group: "", Version: "v1"}:                             true,
	{Group: "admission.k8s.io", Version: "v1"}:             true,
	{Group: "admissionregistration.k8s.io", Version: "v1"}: true,
	{Group: "apidiscovery.k8s.io", Version: "v2"}:          true,
	{Group: "apiextensions.k8s.io", Version: "v1"}:         true,
	{Group: "apiregistration.k8s.io", Version: "v1"}:       true,
	{Group: "apps", Version: "v1"}:                         true,
	{Group: "authentication.k8s.io", Version: "v1"}:        true,
	{Group: "authorization.k8s.io", Version: "v1"}:         true,
	{Group: "autoscaling", Version: "v1"}:                  true,
	{Group: "autoscaling", Version: "v2"}:                  true,
	{Group: "batch", Version: "v1"}:                        true,
	{Group: "certificates.k8s.io", Version: "v1"}:          true,
	{Group: "coordination.k8s.io", Version: "v1"}:          true,
	{Group: "discovery.k8s.io", Version: "v1"}:             true,
	{Group: "events.k8s.io", Version: "v1"}:                true,
	{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}: true,
	{Group: "meta.k8s.io", Version: "v1"}:                  true,
	{Group: "networking.k8s.io", Version: "v1"}:            true,
	{Group: "node.k8s.io", Version: "v1"}:                  true,
	{Group: "policy", Version: "v1"}:                       true,
	{Group: "rbac.authorization.k8s.io", Version: "v1"}:    true,
	{Group: "resource.k8s.io", Version: "v1"}:              true,
	{Group: "scheduling.k8s.io", Version: "v1"}:            true,
	{Group: "storage.k8s.io", Version: "v1"}:               true,
	{Group: "storagemigration.k8s.io", Version: "v1"}:      true,
}

// Kinds that every group version has; the table lists them under meta.k8s.io only.
var everywhere = map[string]reflect.Type{
	"CreateOptions": reflect.TypeFor[metav1.CreateOptions](),
	"DeleteOptions": reflect.TypeFor[metav1.DeleteOptions](),
	"GetOptions":    reflect.TypeFor[metav1.GetOptions](),
	"ListOptions":   reflect.TypeFor[metav1.ListOptions](),
	"PatchOptions":  reflect.TypeFor[metav1.PatchOptions](),
	"UpdateOptions": reflect.TypeFor[metav1.UpdateOptions](),
	"WatchEvent":    reflect.TypeFor[metav1.WatchEvent](),
}

// A Table's cells are untyped, so it has no protobuf form and no place in the schema.
var left = map[string]bool{"Table": true, "TableOptions": true}

type kind struct {
	gvk schema.GroupVersionKind
	go_ reflect.Type
}

func kinds() ([]kind, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, admissionv1.AddToScheme, apidiscoveryv2.AddToScheme, apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme,
		metav1.AddMetaToScheme,
	} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	var all []kind
	for gvk, t := range s.AllKnownTypes() {
		if !served[gvk.GroupVersion()] || everywhere[gvk.Kind] != nil || left[gvk.Kind] {
			continue
		}
		all = append(all, kind{gvk, t})
	}
	for name, t := range everywhere {
		all = append(all, kind{schema.GroupVersionKind{Group: "meta.k8s.io", Version: "v1", Kind: name}, t})
	}
	seen := map[schema.GroupVersion]bool{}
	for _, k := range all {
		seen[k.gvk.GroupVersion()] = true
	}
	for gv := range served {
		if !seen[gv] {
			return nil, fmt.Errorf("no kind is registered in %v", gv)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].gvk.String() < all[j].gvk.String() })
	return all, nil
}
