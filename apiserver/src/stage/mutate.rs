//! Admission plugins that change the object, in upstream's order; then what the server itself chooses for a Service.

use crate::Error;
use crate::admission::{
    default_toleration_seconds, ingress_class, limit_ranger, namespace_lifecycle, node_restriction, pod_topology_labels, priority, runtime_class,
    service_account, storage, taint_nodes,
};
use crate::allocate;
use crate::resource::Object;
use crate::stage::{Admission, Extra};
use apiserver_machinery::tree::Struct;

type Plugin = fn(&mut Struct, &Admission<'_>) -> Result<(), Error>;

const PLUGINS: [Plugin; 13] = [
    |_, admission| namespace_lifecycle::admit(admission),
    limit_ranger::mutate,
    service_account::mutate,
    |object, admission| node_restriction::admit(Some(Object::new(&admission.resource.storage.shape.schema, object)), admission),
    taint_nodes::mutate,
    priority::mutate,
    default_toleration_seconds::mutate,
    storage::set_default_class,
    storage::protect,
    runtime_class::mutate,
    ingress_class::mutate,
    pod_topology_labels::mutate,
    allocate::assign,
];

pub fn mutate(object: &mut Struct, admission: &Admission<'_>, _extra: &mut Extra) -> Result<(), Error> {
    PLUGINS.iter().try_for_each(|plugin| plugin(object, admission))
}
