//! Tables of `testdata/tables/`, as Kubernetes prints the same objects.
