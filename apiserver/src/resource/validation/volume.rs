//! Volumes of Pods, and how containers mount them.

use super::container::{field_selector, id, pull_policy, resource_field_selector, size};
use super::{Errors, messages, metadata, one_of, required, selector, value};
use crate::resource::{Object, claim};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use regex::Regex;
use std::sync::LazyLock;

/// The well-formed volumes of a Pod by name.
pub type Volumes<'a> = Vec<(&'a str, Object<'a>)>;

const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// The kinds of volume in the order in which they are looked for, and the name of each in the message about a second one.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Checks the volumes of a Pod and returns those without a fault, which is what mounts are checked against.
pub fn volumes<'a>(spec: Object<'a>, pod_name: &str, at: &Path<'_>, errors: &mut Errors) -> Volumes<'a> {
    let at = at.child("volumes");
    let mut sound: Volumes<'a> = Vec::new();
    for (index, volume) in spec.items("volumes").enumerate() {
        let at = at.index(index);
        let mut found = Vec::new();
        source(volume, pod_name, &at, &mut found);
        let name = volume.text("name");
        if required(volume, "name", &at, "", &mut found) {
            messages(names::dns1123_label(name), name, &at.child("name"), &mut found);
        }
        if sound.iter().any(|(own, _)| *own == name) {
            found.push(Error::duplicate(&at.child("name"), name));
        }
        if found.is_empty() {
            sound.push((name, volume));
        }
        errors.append(&mut found);
        let claim = volume.text("persistentVolumeClaim.claimName");
        let made_by_ephemeral = !pod_name.is_empty()
            && spec.items("volumes").any(|other| {
                other.has("ephemeral") && claim.strip_prefix(pod_name).and_then(|rest| rest.strip_prefix('-')) == Some(other.text("name"))
            });
        if !claim.is_empty() && made_by_ephemeral {
            errors.push(Error::invalid(
                &at.child("persistentVolumeClaim").child("claimName"),
                claim,
                "must not reference a PVC that gets created for an ephemeral volume",
            ));
        }
    }
    sound
}

fn source(volume: Object<'_>, pod_name: &str, at: &Path<'_>, errors: &mut Errors) {
    let mut sources = 0;
    for field in SOURCES {
        let Some(source) = volume.child(field) else { continue };
        let shown = match *field {
            "cephfs" => "cephFS",
            "downwardAPI" => "downwarAPI",
            field => field,
        };
        if sources > 0 {
            errors.push(Error::forbidden(&at.child(shown), "may not specify more than 1 volume type"));
            continue;
        }
        sources += 1;
        let at_source = at.child(if *field == "gcePersistentDisk" { "persistentDisk" } else { field });
        one_source(field, source, &at_source, errors);
        if *field == "iscsi" && source.has("initiatorName") && volume.text("name").len() + 1 + source.text("targetPortal").len() > 64 {
            errors.push(Error::invalid(
                &at.child("name"),
                volume.text("name"),
                "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.",
            ));
        }
        if *field == "ephemeral" && !pod_name.is_empty() && !volume.text("name").is_empty() {
            let claim = format!("{pod_name}-{}", volume.text("name"));
            let found: Vec<String> = names::dns1123_subdomain(&claim);
            for message in found {
                let detail = format!("PVC name \"{claim}\": {message}");
                errors.push(Error::invalid(&at.child("name"), volume.text("name"), detail));
            }
        }
    }
    if sources == 0 {
        errors.push(Error::required(at, "must specify a volume type"));
    }
}

fn one_source(field: &str, source: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    match field {
        "emptyDir" => {
            if size(source, "sizeLimit").sign() < 0 {
                errors.push(Error::forbidden(&at.child("sizeLimit"), "SizeLimit field must be a valid resource quantity"));
            }
        }
        "hostPath" => {
            if required(source, "path", at, "", errors) {
                no_backsteps(source.text("path"), &at.child("path"), errors);
                let kinds = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
                one_of(source, "type", &kinds, at, errors);
            }
        }
        "gitRepo" => {
            required(source, "repository", at, "", errors);
            local_descending(source.text("directory"), &at.child("directory"), errors);
        }
        "secret" | "configMap" => {
            required(source, if field == "secret" { "secretName" } else { "name" }, at, "", errors);
            mode(source, "defaultMode", at, errors);
            for (index, item) in source.items("items").enumerate() {
                key_to_path(item, &at.child("items").index(index), errors);
            }
        }
        "persistentVolumeClaim" => {
            required(source, "claimName", at, "", errors);
        }
        "nfs" => nfs(source, at, errors),
        "iscsi" => iscsi(source, at, errors),
        "fc" => fibre_channel(source, at, errors),
        "downwardAPI" => {
            mode(source, "defaultMode", at, errors);
            for file in source.items("items") {
                downward_file(file, at, errors);
            }
        }
        "projected" => {
            mode(source, "defaultMode", at, errors);
            projected(source, at, errors);
        }
        "csi" => {
            csi_driver_name(source.text("driver"), &at.child("driver"), errors);
            if let Some(secret) = source.child("nodePublishSecretRef") {
                let name = secret.text("name");
                if name.is_empty() {
                    errors.push(Error::required(&at.child("nodePublishSecretRef.name"), ""));
                } else {
                    messages(names::dns1123_subdomain(name), name, &at.child("name"), errors);
                }
            }
        }
        "ephemeral" => {
            let at = at.child("volumeClaimTemplate");
            match source.child("volumeClaimTemplate") {
                None => errors.push(Error::required(&at, "")),
                Some(template) => {
                    if let Some(meta) = template.child("metadata") {
                        template_metadata(meta, &at.child("metadata"), errors);
                    }
                    match template.child("spec") {
                        Some(spec) => claim::spec(spec, &at.child("spec"), errors),
                        None => errors.push(Error::required(&at.child("spec.accessModes"), "at least 1 access mode is required")),
                    }
                }
            }
        }
        "image" => {
            required(source, "reference", at, "", errors);
            pull_policy(source, "pullPolicy", at, errors);
        }
        other => {
            for name in required_fields(other) {
                required(source, name, at, "", errors);
            }
        }
    }
}

/// What the other kinds of volume cannot do without.
pub fn required_fields(source: &str) -> &'static [&'static str] {
    match source {
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
        "glusterfs" => &["endpoints", "path"],
        "rbd" => &["monitors", "image"],
        "cephfs" => &["monitors"],
        "quobyte" => &["registry", "volume"],
        "flexVolume" => &["driver"],
        "azureFile" => &["secretName", "shareName"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "azureDisk" => &["diskName", "diskURI"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        _ => &[],
    }
}

pub fn nfs(source: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    required(source, "server", at, "", errors);
    required(source, "path", at, "", errors);
    if !source.text("path").starts_with('/') {
        errors.push(Error::invalid(&at.child("path"), source.text("path"), "must be an absolute path"));
    }
}

fn fibre_channel(source: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = &at.child("targetWWNs");
    match (source.list("targetWWNs").is_empty(), source.list("wwids").is_empty()) {
        (true, true) => errors.push(Error::required(at, "must specify either targetWWNs or wwids, but not both")),
        (false, false) => {
            errors.push(Error::invalid(at, value::shown(source, "targetWWNs"), "targetWWNs and wwids can not be specified simultaneously"))
        }
        _ => {}
    }
}

fn iscsi(source: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    required(source, "targetPortal", at, "", errors);
    if required(source, "iqn", at, "", errors) {
        iscsi_name(source.text("iqn"), &at.child("iqn"), errors);
    }
    let lun = source.number("lun");
    if !(0..=255).contains(&lun) {
        errors.push(Error::invalid(&at.child("lun"), lun, names::inclusive_range_message(0, 255)));
    }
    if (source.flag("chapAuthDiscovery") || source.flag("chapAuthSession")) && !source.has("secretRef") {
        errors.push(Error::required(&at.child("secretRef"), ""));
    }
    if let Some(initiator) = source.text_opt("initiatorName") {
        iscsi_name(initiator, &at.child("initiatorname"), errors);
    }
}

fn iscsi_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    static FORMS: LazyLock<Vec<(&str, Option<Regex>)>> = LazyLock::new(|| {
        [("iqn", r"iqn\.[0-9]{4}-[0-9]{2}\.([A-Za-z0-9-.]+)(:[^,;*&$|\s]+)$"), ("eui", r"^eui.[A-Za-z0-9]{16}$"), ("naa", r"^naa.[A-Za-z0-9]{32}$")]
            .into_iter()
            .map(|(prefix, form)| (prefix, Regex::new(form).ok()))
            .collect()
    });
    match FORMS.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        None => errors.push(Error::invalid(at, name, "must be valid format starting with iqn, eui, or naa")),
        Some((_, form)) if !form.as_ref().is_some_and(|form| form.is_match(name)) => {
            errors.push(Error::invalid(at, name, "must be valid format"));
        }
        Some(_) => {}
    }
}

fn mode(source: Object<'_>, field: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Some(mode) = source.int(field)
        && !(0..=0o777).contains(&mode)
    {
        errors.push(Error::invalid(&at.child(field), mode, FILE_MODE));
    }
    id(source, if field == "mode" { "user" } else { "defaultUser" }, at, errors);
}

fn key_to_path(item: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    required(item, "key", at, "", errors);
    required(item, "path", at, "", errors);
    local_non_reserved(item.text("path"), &at.child("path"), errors);
    mode(item, "mode", at, errors);
}

const FIELDS_OF_VOLUME: &[&str] = &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

fn downward_file(file: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    required(file, "path", at, "", errors);
    local_non_reserved(file.text("path"), &at.child("path"), errors);
    match (file.child("fieldRef"), file.child("resourceFieldRef")) {
        (Some(field), resource) => {
            field_selector(field, FIELDS_OF_VOLUME, &at.child("fieldRef"), errors);
            if resource.is_some() {
                errors.push(Error::invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"));
            }
        }
        (None, Some(resource)) => resource_field_selector(resource, true, &at.child("resourceFieldRef"), errors),
        (None, None) => errors.push(Error::required(at, "one of fieldRef and resourceFieldRef is required")),
    }
    mode(file, "mode", at, errors);
}

fn projected<'a>(volume: Object<'a>, at: &Path<'_>, errors: &mut Errors) {
    let mut paths: Vec<&str> = Vec::new();
    let mut claim_path = |path: &'a str, shown: &str, errors: &mut Errors| {
        if path.is_empty() {
            return;
        }
        if paths.contains(&path) {
            errors.push(Error::invalid(at, shown, "conflicting duplicate paths"));
        } else {
            paths.push(path);
        }
    };
    for (index, source) in volume.items("sources").enumerate() {
        let sources_at = at.child("sources");
        let source_at = sources_at.index(index);
        let mut sources = 0;
        for field in ["secret", "configMap"] {
            let Some(inner) = source.child(field) else { continue };
            sources += 1;
            let at = source_at.child(field);
            required(inner, "name", &at, "", errors);
            for (index, item) in inner.items("items").enumerate() {
                key_to_path(item, &at.child("items").index(index), errors);
                claim_path(item.text("path"), inner.text("name"), errors);
            }
        }
        if let Some(inner) = source.child("downwardAPI") {
            sources += 1;
            for file in inner.items("items") {
                downward_file(file, &source_at.child("downwardAPI"), errors);
                claim_path(file.text("path"), file.text("path"), errors);
            }
        }
        if let Some(token) = source.child("serviceAccountToken") {
            sources += 1;
            service_account_token(token, at, &source_at.child("serviceAccountToken"), errors);
        }
        if let Some(bundle) = source.child("clusterTrustBundle") {
            sources += 1;
            trust_bundle(bundle, source, &source_at.child("clusterTrustBundle"), errors);
            claim_path(bundle.text("path"), bundle.text("path"), errors);
        }
        if let Some(certificate) = source.child("podCertificate") {
            sources += 1;
            let at = source_at.child("podCertificate");
            pod_certificate(certificate, &at, errors);
            for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
                claim_path(certificate.text(field), certificate.text(field), errors);
            }
        }
        if sources > 1 {
            errors.push(Error::forbidden(&source_at, "may not specify more than 1 volume type per source"));
        }
    }
}

fn service_account_token(token: Object<'_>, volume_at: &Path<'_>, at: &Path<'_>, errors: &mut Errors) {
    const SECONDS_MIN: i64 = 10 * 60;
    const SECONDS_MAX: i64 = 1 << 32;
    let seconds_at = at.child("expirationSeconds");
    match token.int("expirationSeconds") {
        None => errors.push(Error::required(&seconds_at, "")),
        Some(seconds) if seconds < SECONDS_MIN => {
            errors.push(Error::invalid(&seconds_at, seconds, "may not specify a duration less than 10 minutes"));
        }
        Some(seconds) if seconds > SECONDS_MAX => {
            errors.push(Error::invalid(&seconds_at, seconds, "may not specify a duration larger than 2^32 seconds"));
        }
        Some(_) => {}
    }
    if required(token, "path", volume_at, "", errors) {
        local_non_reserved(token.text("path"), &volume_at.child("path"), errors);
    }
    id(token, "user", at, errors);
}

fn trust_bundle(bundle: Object<'_>, source: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    match (bundle.text_opt("name"), bundle.text_opt("signerName")) {
        (Some(_), Some(_)) => {
            let shown = value::shown(source, "clusterTrustBundle");
            errors.push(Error::invalid(at, shown, "only one of name and signerName may be used"));
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.push(Error::required(&at.child("name"), "must be a valid object name"));
            }
            if bundle.has("labelSelector") {
                let shown = value::shown(bundle, "labelSelector");
                errors.push(Error::invalid(&at.child("labelSelector"), shown, "labelSelector must be unset if name is specified"));
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.push(Error::required(&at.child("signerName"), "must be a valid signer name"));
            }
            crate::resource::certificates::signer_name(signer, &at.child("signerName"), errors);
            selector::label_selector(bundle, "labelSelector", at, errors);
        }
        (None, None) => errors.push(Error::required(at, "either name or signerName must be specified")),
    }
    required(bundle, "path", at, "", errors);
    local_non_reserved(bundle.text("path"), &at.child("path"), errors);
}

fn pod_certificate(certificate: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    const KEYS: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    crate::resource::certificates::signer_name(certificate.text("signerName"), &at.child("signerName"), errors);
    if !KEYS.contains(&certificate.text("keyType")) {
        errors.push(Error::not_supported(&at.child("keyType"), certificate.text("keyType"), &KEYS));
    }
    if let Some(seconds) = certificate.int("maxExpirationSeconds") {
        let seconds_max = crate::resource::certificates::expiration_seconds_max(certificate.text("signerName"));
        let at = at.child("maxExpirationSeconds");
        if seconds < 3600 {
            errors.push(Error::invalid(&at, seconds, "if provided, maxExpirationSeconds must be >= 3600"));
        }
        if seconds > seconds_max {
            errors.push(Error::invalid(&at, seconds, format!("if provided, maxExpirationSeconds must be <= {seconds_max}")));
        }
    }
    let mut paths = 0;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let path = certificate.text(field);
        if !path.is_empty() {
            paths += 1;
            local_non_reserved(path, &at.child(field), errors);
        }
    }
    if paths == 0 {
        errors.push(Error::required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"));
    }
}

/// Metadata of a template that becomes an object of its own: labels and annotations, nothing else.
pub fn template_metadata(meta: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    metadata::annotations(meta, at, errors);
    errors.extend(apiserver_machinery::labels::validate(meta.pairs("labels"), &at.child("labels")));
    for (number, field_value) in meta.tree.fields() {
        let name = meta.ty().fields[usize::from(*number)].name.as_str();
        if !matches!(name, "labels" | "annotations") && !value::is_empty(field_value) {
            errors.push(Error::forbidden(&at.child(name), "cannot be set"));
        }
    }
}

pub fn csi_driver_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    const BYTES_MAX: usize = 63;
    if name.is_empty() {
        errors.push(Error::required(at, ""));
        return;
    }
    if name.len() > BYTES_MAX {
        errors.push(Error::too_long(at, BYTES_MAX));
    }
    messages(names::dns1123_subdomain(&name.to_lowercase()), name, at, errors);
}

pub fn no_backsteps(path: &str, at: &Path<'_>, errors: &mut Errors) {
    if path.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(at, path, "must not contain '..'"));
    }
}

pub fn local_descending(path: &str, at: &Path<'_>, errors: &mut Errors) {
    if path.starts_with('/') {
        errors.push(Error::invalid(at, path, "must be a relative path"));
    }
    no_backsteps(path, at, errors);
}

fn local_non_reserved(path: &str, at: &Path<'_>, errors: &mut Errors) {
    local_descending(path, at, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.push(Error::invalid(at, path, "must not start with '..'"));
    }
}

pub fn mounts(container: Object<'_>, volumes: &Volumes<'_>, at: &Path<'_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, mount) in container.items("volumeMounts").enumerate() {
        let at_mount = at.index(index);
        let (name, path) = (mount.text("name"), mount.text("mountPath"));
        required(mount, "name", &at_mount, "", errors);
        if !volumes.iter().any(|(own, _)| *own == name) {
            errors.push(Error::not_found(&at_mount.child("name"), name));
        }
        required(mount, "mountPath", &at_mount, "", errors);
        if seen.contains(&path) {
            errors.push(Error::invalid(&at_mount.child("mountPath"), path, "must be unique"));
        }
        seen.push(path);
        if container.items("volumeDevices").any(|device| device.text("name") == name) {
            errors.push(Error::invalid(&at_mount.child("name"), name, "must not already exist in volumeDevices"));
        }
        if container.items("volumeDevices").any(|device| device.text("devicePath") == path) {
            errors.push(Error::invalid(&at_mount.child("mountPath"), path, "must not already exist as a path in volumeDevices"));
        }
        if !mount.text("subPath").is_empty() {
            local_descending(mount.text("subPath"), &at.child("subPath"), errors);
        }
        let expression = mount.text("subPathExpr");
        if !expression.is_empty() {
            if !mount.text("subPath").is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.push(Error::invalid(&at_mount.child("subPathExpr"), expression, detail));
            }
            local_descending(expression, &at.child("subPathExpr"), errors);
        }
        propagation(mount, container, at, errors);
    }
}

fn propagation(mount: Object<'_>, container: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    one_of(mount, "mountPropagation", &["Bidirectional", "HostToContainer", "None"], at, errors);
    let propagation = mount.text_opt("mountPropagation");
    if propagation == Some("Bidirectional") && !container.flag("securityContext.privileged") {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(Error::forbidden(&at.child("mountPropagation"), detail));
    }
    let at = at.child("recursiveReadOnly");
    match mount.text_opt("recursiveReadOnly") {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.flag("readOnly") {
                errors.push(Error::forbidden(&at, "may only be specified when readOnly is true"));
            }
            if propagation.is_some_and(|propagation| propagation != "None") {
                errors.push(Error::forbidden(&at, "may only be specified when mountPropagation is None or not specified"));
            }
        }
        Some(other) => errors.push(Error::not_supported(&at, other, &["Disabled", "Enabled", "IfPossible"])),
    }
}

pub fn devices(container: Object<'_>, volumes: &Volumes<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (mut paths, mut seen): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (index, device) in container.items("volumeDevices").enumerate() {
        let at = at.index(index);
        let (name, path) = (device.text("name"), device.text("devicePath"));
        let volume = volumes.iter().find(|(own, _)| *own == name).map(|(_, volume)| *volume);
        required(device, "name", &at, "", errors);
        if seen.contains(&name) {
            errors.push(Error::invalid(&at.child("name"), name, "must be unique"));
        }
        match volume {
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(Error::invalid(&at.child("name"), name, detail));
            }
            Some(_) => {}
            None => errors.push(Error::not_found(&at.child("name"), name)),
        }
        required(device, "devicePath", &at, "", errors);
        if paths.contains(&path) {
            errors.push(Error::invalid(&at.child("devicePath"), path, "must be unique"));
        }
        if path.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(&at.child("devicePath"), path, "can not contain backsteps ('..')"));
        } else {
            paths.push(path);
        }
        if container.items("volumeMounts").any(|mount| mount.text("name") == name) {
            errors.push(Error::invalid(&at.child("name"), name, "must not already exist in volumeMounts"));
        }
        if container.items("volumeMounts").any(|mount| mount.text("mountPath") == path) {
            errors.push(Error::invalid(&at.child("devicePath"), path, "must not already exist as a path in volumeMounts"));
        }
        if !name.is_empty() {
            seen.push(name);
        }
    }
}
