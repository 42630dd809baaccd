//! Admission plugins that only look, in upstream's order; and what the write has to commit beside the object: Service addresses and quota.

use crate::Error;
use crate::admission::{
    certificates, limit_ranger, namespace_lifecycle, node_restriction, pod_resize, pod_security, priority, resource_quota, runtime_class,
    service_account, storage,
};
use crate::allocate;
use crate::auth::escalate;
use crate::resource::Object;
use crate::stage::{Admission, Extra};
use apiserver_machinery::tree::Struct;

type Plugin = fn(Object<'_>, &Admission<'_>) -> Result<(), Error>;

const PLUGINS: [Plugin; 8] = [
    limit_ranger::validate,
    service_account::validate,
    priority::validate,
    storage::validate_resize,
    runtime_class::validate,
    certificates::validate,
    pod_resize::validate,
    |object, admission| escalate::check(admission.auth, admission, object),
];

/// `object` is what would be written; `None` where it is deleted.
pub fn validate(object: Option<&Struct>, admission: &Admission<'_>, extra: &mut Extra) -> Result<(), Error> {
    let Some(tree) = object else {
        namespace_lifecycle::admit(admission)?;
        return node_restriction::admit(None, admission);
    };
    let object = Object::new(&admission.resource.storage.shape.schema, tree);
    PLUGINS.iter().try_for_each(|plugin| plugin(object, admission))?;
    pod_security::validate(object, admission, extra)?;
    allocate::claim(object, admission, extra)?;
    // The last, since nothing after it may refuse what it has counted.
    resource_quota::admit(object, admission, extra)
}
