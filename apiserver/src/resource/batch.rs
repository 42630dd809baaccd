//! Jobs and CronJobs.

use super::rules::map_at;
use super::validation::{Errors, immutable, messages, metadata, not_negative, pod_spec, required, selector, value};
use super::{Context, Object, Rules, Selectable, pod, rules};
use apiserver_machinery::field::{BadValue, Error, Path};
use apiserver_machinery::labels;
use apiserver_machinery::names;
use apiserver_machinery::tree::{Map, Struct, Value};

pub static JOB: Rules = Rules {
    create: create_job,
    validate: validate_job,
    warnings: job_warnings,
    selectable: &[Selectable { label: "status.successful", value: |job| compact_str::format_compact!("{}", job.number("status.succeeded")) }],
    generation: true,
    ..Rules::PLAIN
};

pub static CRON_JOB: Rules = Rules { validate: validate_cron_job, warnings: cron_job_warnings, generation: true, ..Rules::PLAIN };

const PARALLELISM_INDEXED_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
const COMPLETIONS_SOFT_MAX: i64 = 100_000;
const PARALLELISM_MANY_MAX: i64 = 10_000;
const FAILED_INDEXES_MANY_MAX: i64 = 10_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const MANAGED_BY_BYTES_MAX: usize = 63;
const INDEXES_BYTES_MAX: usize = 64 << 10;
/// A CronJob appends eleven characters to its name for each Job.
const CRON_JOB_NAME_CHARACTERS_MAX: usize = 52;

const MISMATCH: &str = "`selector` does not match template `labels`";
const JOB_NAME: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const CONTROLLER_UID: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Unless the client manages the selector, Pods are found by labels that name this Job alone.
fn create_job(job: &mut Struct, context: &Context<'_>) {
    rules::create(job, context);
    let schema = context.schema;
    if job.bool_at(schema, "spec.manualSelector") == Some(true) {
        return;
    }
    let name = job.str_at(schema, "metadata.name").unwrap_or_default().to_owned();
    let uid = job.str_at(schema, "metadata.uid").unwrap_or_default().to_owned();
    let before = job.at(schema, "spec.template.metadata.labels").and_then(Value::as_map).cloned().unwrap_or_default();
    let mut after = before.clone();
    for (keys, text) in [(JOB_NAME, &name), (CONTROLLER_UID, &uid)] {
        for key in keys.iter().filter(|key| before.get(key).is_none()) {
            after.insert(*key, Value::from(text.as_str()));
        }
    }
    // A Job without labels of its own has those of its template, the generated ones too.
    let own = job.at(schema, "metadata.labels").and_then(Value::as_map).cloned().unwrap_or_default();
    if own.is_empty() || own == before {
        job.put(schema, "metadata.labels", Value::Map(after.clone()));
    }
    job.put(schema, "spec.template.metadata.labels", Value::Map(after));
    if let Some(matched) = map_at(job, schema, "spec.selector.matchLabels")
        && matched.get(CONTROLLER_UID[1]).is_none()
    {
        matched.insert(CONTROLLER_UID[1], Value::from(uid));
    }
}

fn job_warnings(new: Object<'_>, old: Option<Object<'_>>, _: &Context<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if old.is_none() {
        pod::label_warning(new, "Pod names and hostnames", &mut found);
        found.extend(pod::template_warnings(new.child("spec.template"), "spec.template."));
    }
    found
}

fn cron_job_warnings(new: Object<'_>, old: Option<Object<'_>>, _: &Context<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if old.is_none() {
        pod::label_warning(new, "Pod names and hostnames", &mut found);
        let prefix = "spec.jobTemplate.spec.template.";
        found.extend(pod::template_warnings(new.child("spec.jobTemplate.spec.template"), prefix));
    } else if new.text("spec.schedule").contains("TZ") {
        found.push(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                .to_owned(),
        );
    }
    found
}

fn validate_job(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        if let Some(old) = old {
            job_status(new, old, errors);
        }
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    if old.is_none() {
        generated_selector(new, errors);
    }
    job_spec(spec, &at, errors);
    match spec.child("selector") {
        None => {
            errors.push(Error::required(&at.child("selector"), ""));
            let shown = spec.child("template").map_or(BadValue::json("null"), |template| value::shown(template, "metadata.labels"));
            errors.push(Error::invalid(&at.child("template.metadata.labels"), shown, MISMATCH));
        }
        Some(found) => {
            errors.extend(labels::validate_selector(found.schema, found.tree, &at.child("selector")));
            if let (Ok(found), Some(template)) = (labels::Selector::of_label_selector(found.schema, Some(found.tree)), spec.child("template"))
                && !selector::matches(&found, template)
            {
                let shown = value::shown(template, "metadata.labels");
                errors.push(Error::invalid(&at.child("template.metadata.labels"), shown, MISMATCH));
            }
        }
    }
    let completions = spec.number("completions");
    if spec.text("completionMode") == "Indexed" && completions > 0 {
        let last = format!("{}-{}", new.name(), completions - 1);
        if !names::dns1123_label(&last).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {last}");
            errors.push(Error::invalid(&Path::new("metadata.name"), new.name(), detail));
        }
    }
    if let Some(old) = old {
        job_update(new, old, errors);
    }
}

/// The labels that the server generates are those that it would generate.
fn generated_selector(job: Object<'_>, errors: &mut Errors) {
    if job.flag("spec.manualSelector") || !job.has("spec.selector") {
        return;
    }
    let uid = job.text("metadata.uid");
    let at = Path::new("spec.template.metadata.labels");
    let empty = Map::default();
    let own = job.map("spec.template.metadata.labels").unwrap_or(&empty);
    let expected = [(CONTROLLER_UID[0], uid), (JOB_NAME[0], job.name()), (CONTROLLER_UID[1], uid), (JOB_NAME[1], job.name())];
    for (key, text) in expected {
        match own.get(key).and_then(Value::as_str) {
            None => errors.push(Error::required(&at.key(key), format!("must be '{text}'"))),
            Some(actual) if actual != text => {
                let shown = value::shown(job, "spec.template.metadata.labels");
                errors.push(Error::invalid(&at.key(key), shown, format!("must be '{text}'")));
            }
            Some(_) => {}
        }
    }
    let found = job.child("spec.selector").map(|found| labels::Selector::of_label_selector(found.schema, Some(found.tree)));
    if let Some(Ok(found)) = found
        && !found.matches(|key| expected.iter().find(|(own, _)| *own == key).map(|(_, text)| *text))
    {
        let shown = value::shown(job, "spec.selector");
        errors.push(Error::invalid(&Path::new("spec.selector"), shown, "`selector` not auto-generated"));
    }
}

fn job_spec(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for field in
        ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes"]
    {
        not_negative(spec, field, at, errors);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errors.push(Error::required(&at.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    if let Some(name) = spec.text_opt("managedBy") {
        let at = at.child("managedBy");
        domain_prefixed_path(name, &at, errors);
        if name.len() > MANAGED_BY_BYTES_MAX {
            errors.push(Error::too_long(&at, MANAGED_BY_BYTES_MAX));
        }
    }
    completion_mode(spec, at, errors);
    if let Some(policy) = spec.child("podFailurePolicy") {
        failure_policy(policy, spec, &at.child("podFailurePolicy"), errors);
    }
    if let Some(policy) = spec.child("successPolicy") {
        let at = at.child("successPolicy");
        if spec.text("completionMode") == "Indexed" {
            success_policy(policy, spec.number("completions"), &at, errors);
        } else {
            errors.push(Error::invalid(&at, value::shown(spec, "successPolicy"), "requires indexed completion mode"));
        }
    }
    if let Some(policy) = spec.text_opt("podReplacementPolicy") {
        let allowed: &[&str] = if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        if !allowed.contains(&policy) {
            errors.push(Error::not_supported(&at.child("podReplacementPolicy"), policy, allowed));
        }
    }
    let template_at = at.child("template");
    if let Some(template) = spec.child("template") {
        pod_spec::template(template, &template_at, errors);
        let policy_at = template_at.child("spec.restartPolicy");
        match template.text("spec.restartPolicy") {
            "" | "Always" => errors.push(Error::required(&policy_at, "valid values: \"OnFailure\", \"Never\"")),
            "OnFailure" if spec.has("podFailurePolicy") => {
                let detail = "only \"Never\" is supported when podFailurePolicy is specified";
                errors.push(Error::invalid(&policy_at, "OnFailure", detail));
            }
            "OnFailure" | "Never" => {}
            other => errors.push(Error::not_supported(&policy_at, other, &["OnFailure", "Never"])),
        }
    }
}

/// `example.com/name`, as managedBy names a controller.
fn domain_prefixed_path(text: &str, at: &Path<'_>, errors: &mut Errors) {
    let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
    match text.split_once('/') {
        _ if text.is_empty() => errors.push(Error::required(at, "")),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            messages(names::dns1123_subdomain(domain), domain, at, errors);
        }
        _ => errors.push(Error::invalid(at, text, detail)),
    }
}

fn completion_mode(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at_most = |field: &str, most: i64, why: String, errors: &mut Errors| {
        if let Some(number) = spec.int(field)
            && number > most
        {
            errors.push(Error::invalid(&at.child(field), number, why));
        }
    };
    match spec.text("completionMode") {
        "Indexed" => {
            let completions = spec.int("completions");
            if completions.is_none() {
                errors.push(Error::required(&at.child("completions"), "when completion mode is Indexed"));
            }
            let why = format!("must be less than or equal to {PARALLELISM_INDEXED_MAX} when completion mode is Indexed");
            at_most("parallelism", PARALLELISM_INDEXED_MAX, why, errors);
            at_most("maxFailedIndexes", completions.unwrap_or(i64::MAX), "must be less than or equal to completions".to_owned(), errors);
            let why = format!("must be less than or equal to {FAILED_INDEXES_MAX}");
            at_most("maxFailedIndexes", FAILED_INDEXES_MAX, why, errors);
            if completions.is_some_and(|number| number > COMPLETIONS_SOFT_MAX) && spec.has("backoffLimitPerIndex") {
                if !spec.has("maxFailedIndexes") {
                    let detail = format!("must be specified when completions is above {COMPLETIONS_SOFT_MAX}");
                    errors.push(Error::required(&at.child("maxFailedIndexes"), detail));
                }
                for (field, most) in [("parallelism", PARALLELISM_MANY_MAX), ("maxFailedIndexes", FAILED_INDEXES_MANY_MAX)] {
                    let why = format!(
                        "must be less than or equal to {most} when completions are above {COMPLETIONS_SOFT_MAX} and used with backoff limit per index"
                    );
                    at_most(field, most, why, errors);
                }
            }
        }
        "" | "NonIndexed" => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(number) = spec.int(field) {
                    errors.push(Error::invalid(&at.child(field), number, "requires indexed completion mode"));
                }
            }
        }
        other => errors.push(Error::not_supported(&at.child("completionMode"), other, &["NonIndexed", "Indexed"])),
    }
}

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

fn failure_policy(policy: Object<'_>, spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("rules");
    let rules = policy.list("rules").len();
    if rules > RULES_MAX {
        errors.push(Error::too_many(&at, rules, RULES_MAX));
    }
    for (index, rule) in policy.items("rules").enumerate() {
        let at = at.index(index);
        match rule.text("action") {
            "" => {
                let detail = "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]";
                errors.push(Error::required(&at.child("action"), detail));
            }
            "FailIndex" if !spec.has("backoffLimitPerIndex") => {
                errors.push(Error::invalid(&at.child("action"), "FailIndex", "requires the backoffLimitPerIndex to be set"));
            }
            action if ACTIONS.contains(&action) => {}
            other => errors.push(Error::not_supported(&at.child("action"), other, &ACTIONS)),
        }
        let codes = rule.child("onExitCodes");
        if let Some(codes) = codes {
            exit_codes(codes, spec, &at.child("onExitCodes"), errors);
        }
        let patterns = rule.list("onPodConditions").len();
        let patterns_at = at.child("onPodConditions");
        if patterns > PATTERNS_MAX {
            errors.push(Error::too_many(&patterns_at, patterns, PATTERNS_MAX));
        }
        for (index, pattern) in rule.items("onPodConditions").enumerate() {
            let at = patterns_at.index(index);
            let ty = pattern.text("type");
            messages(names::qualified_name(ty), ty, &at.child("type"), errors);
            match pattern.text("status") {
                "" => errors.push(Error::required(&at.child("status"), "valid values: [\"False\" \"True\" \"Unknown\"]")),
                "True" | "False" | "Unknown" => {}
                other => errors.push(Error::not_supported(&at.child("status"), other, &["False", "True", "Unknown"])),
            }
        }
        match (codes.is_some(), patterns > 0) {
            (true, true) => {
                let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(Error::invalid(&at, BadValue::OMITTED, detail));
            }
            (false, false) => {
                let detail = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(Error::invalid(&at, BadValue::OMITTED, detail));
            }
            _ => {}
        }
    }
}

fn exit_codes(codes: Object<'_>, spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    match codes.text("operator") {
        "" => errors.push(Error::required(&at.child("operator"), "valid values: [\"In\" \"NotIn\"]")),
        "In" | "NotIn" => {}
        other => errors.push(Error::not_supported(&at.child("operator"), other, &["In", "NotIn"])),
    }
    if let Some(name) = codes.text_opt("containerName") {
        let mut own = spec.items("template.spec.containers").chain(spec.items("template.spec.initContainers"));
        if !own.any(|container| container.text("name") == name) {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.push(Error::invalid(&at.child("containerName"), name, detail));
        }
    }
    let at = at.child("values");
    let values: Vec<i64> = codes.list("values").iter().filter_map(Value::as_int).collect();
    if values.is_empty() {
        errors.push(Error::invalid(&at, value::shown(codes, "values"), "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(Error::too_many(&at, values.len(), EXIT_CODES_MAX));
    }
    for (index, code) in values.iter().enumerate() {
        if codes.text("operator") == "In" && *code == 0 {
            errors.push(Error::invalid(&at.index(index), *code, "must not be 0 for the In operator"));
        }
        if values[..index].contains(code) {
            errors.push(Error::duplicate(&at.index(index), *code));
        }
    }
    if !values.is_sorted() {
        errors.push(Error::invalid(&at, value::shown(codes, "values"), "must be ordered"));
    }
}

fn success_policy(policy: Object<'_>, completions: i64, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("rules");
    let rules = policy.list("rules").len();
    if rules == 0 {
        errors.push(Error::required(&at, "at least one rules must be specified when the successPolicy is specified"));
    }
    if rules > RULES_MAX {
        errors.push(Error::too_many(&at, rules, RULES_MAX));
    }
    for (index, rule) in policy.items("rules").enumerate() {
        let at = at.index(index);
        let (count, indexes) = (rule.int("succeededCount"), rule.text_opt("succeededIndexes"));
        if count.is_none() && indexes.is_none() {
            errors.push(Error::required(&at, "at least one of succeededCount or succeededIndexes must be specified"));
        }
        let mut total = 0;
        if let Some(text) = indexes {
            let at = at.child("succeededIndexes");
            if text.len() > INDEXES_BYTES_MAX {
                errors.push(Error::too_long(&at, INDEXES_BYTES_MAX));
            }
            match count_indexes(text, completions) {
                Ok(count) => total = count,
                Err(detail) => errors.push(Error::invalid(&at, text, format!("error parsing succeededIndexes: {detail}"))),
            }
        }
        if let Some(count) = count {
            not_negative(rule, "succeededCount", &at, errors);
            let at = at.child("succeededCount");
            if count > completions {
                let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
                errors.push(Error::invalid(&at, count, detail));
            }
            if indexes.is_some() && count > total {
                let detail = format!("must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)");
                errors.push(Error::invalid(&at, count, detail));
            }
        }
    }
}

/// The number of indexes in `1,3-5`: ascending, apart, below the number of completions.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let mut last: Option<i64> = None;
    let mut total = 0;
    for interval in text.split(',') {
        let limits: Vec<&str> = interval.split('-').collect();
        if limits.len() > 2 {
            return Err(format!(
                "the fragment \"{interval}\" violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let parse = |part: &str| part.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: \"{part}\""));
        let first = parse(limits[0])?;
        if first >= completions {
            return Err(format!("too large index: \"{}\"", limits[0]));
        }
        let end = match limits.get(1) {
            None => first,
            Some(part) => {
                let end = parse(part)?;
                if end >= completions {
                    return Err(format!("too large index: \"{part}\""));
                }
                if first >= end {
                    return Err(format!("non-increasing order, previous: {first}, current: {end}"));
                }
                end
            }
        };
        if let Some(last) = last
            && last >= first
        {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn job_update(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let at = Path::new("spec");
    if new.text("spec.completionMode") != "Indexed" {
        immutable(new, old, "spec.completions", &at.child("completions"), errors);
    } else if new.int("spec.completions") != old.int("spec.completions")
        && let Some(completions) = new.int("spec.completions")
        && Some(completions) != new.int("spec.parallelism")
    {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.push(Error::invalid(&at.child("completions"), completions, detail));
    }
    immutable(new, old, "spec.selector", &at.child("selector"), errors);
    job_template_update(new, old, &at, errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        immutable(new, old, &format!("spec.{field}"), &at.child(field), errors);
    }
}

/// The template of a Job that has not started, or is suspended, may change where it is scheduled and what it asks for.
fn job_template_update(new: Object<'_>, old: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if new.get("spec.template") == old.get("spec.template") {
        return;
    }
    let suspended = old.flag("spec.suspend");
    let schema = new.schema;
    let mut allowed = old.tree.clone();
    if suspended {
        for path in
            ["spec.affinity.nodeAffinity", "spec.nodeSelector", "spec.tolerations", "spec.schedulingGates", "metadata.annotations", "metadata.labels"]
        {
            super::rules::keep(new.tree, &mut allowed, schema, &format!("spec.template.{path}"));
        }
        for list in ["containers", "initContainers"] {
            let path = format!("spec.template.spec.{list}");
            let mut wanted = new.items(&path).map(|own| own.get("resources").cloned());
            super::rules::each(&mut allowed, schema, &path, |own| {
                match wanted.next().flatten() {
                    Some(resources) => own.put(schema, "resources", resources),
                    None => own.take(schema, "resources").map(drop),
                };
            });
        }
    }
    let allowed = Object { schema, tree: &allowed };
    if allowed.get("spec.template") != new.get("spec.template") {
        let shown = value::shown(new, "spec.template");
        errors.push(Error::invalid(&at.child("template"), shown, super::validation::IMMUTABLE));
    }
}

fn is_true(job: Object<'_>, ty: &str) -> bool {
    job.items("status.conditions").any(|own| own.text("type") == ty && own.text("status") == "True")
}

fn job_status(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    let conditions_at = at.child("conditions");
    let fault = |detail: &str, errors: &mut Errors| errors.push(Error::invalid(&conditions_at, BadValue::OMITTED, detail));
    if let Some(status) = new.child("status") {
        for field in ["active", "succeeded", "failed", "ready", "terminating"] {
            not_negative(status, field, &at, errors);
        }
    }
    let (complete, failed) = (is_true(new, "Complete"), is_true(new, "Failed"));
    let finished = complete || failed;
    if complete && failed {
        fault("cannot set Complete=True and Failed=true conditions", errors);
    }
    if complete && is_true(new, "FailureTarget") {
        fault("cannot set Complete=True and FailureTarget=true conditions", errors);
    }
    if new.has("status.completionTime") && !complete {
        let detail = "cannot set completionTime when there is no Complete=True condition";
        errors.push(Error::invalid(&at.child("completionTime"), new.text("status.completionTime"), detail));
    }
    if complete && !new.has("status.completionTime") {
        errors.push(Error::required(&at.child("completionTime"), "completionTime is required for Complete jobs"));
    }
    if let (Some(start), Some(end)) = (new.text_opt("status.startTime"), new.text_opt("status.completionTime"))
        && end < start
    {
        errors.push(Error::invalid(&at.child("completionTime"), end, "must be equal to or after `startTime`"));
    }
    if failed && !is_true(new, "FailureTarget") && !is_true(old, "Failed") {
        fault("cannot set Failed=True condition without the FailureTarget=true condition", errors);
    }
    if complete && !is_true(new, "SuccessCriteriaMet") && !is_true(old, "Complete") {
        fault("cannot set Complete=True condition without the SuccessCriteriaMet=true condition", errors);
    }
    if finished {
        for (field, detail) in [("active", "active>0 is invalid for finished job"), ("terminating", "terminating>0 is invalid for finished job")] {
            let number = new.number(&format!("status.{field}"));
            if number > 0 {
                errors.push(Error::invalid(&at.child(field), number, detail));
            }
        }
        let suspended_early = new.flag("spec.suspend") && new.int("spec.completions") == Some(0);
        if !new.has("status.startTime") && !suspended_early && !is_true(old, "Complete") && !is_true(old, "Failed") {
            errors.push(Error::required(&at.child("startTime"), "startTime is required for finished job"));
        }
        let uncounted = ["failed", "succeeded"].iter().any(|list| !new.list(&format!("status.uncountedTerminatedPods.{list}")).is_empty());
        if uncounted {
            let shown = value::shown(new, "status.uncountedTerminatedPods");
            errors.push(Error::invalid(&at.child("uncountedTerminatedPods"), shown, "must be empty for finished job"));
        }
    }
    if new.number("status.ready") > new.number("status.active") {
        errors.push(Error::invalid(&at.child("ready"), new.number("status.ready"), "cannot set more ready pods than active"));
    }
    if !new.text("status.completedIndexes").is_empty() && new.text("spec.completionMode") != "Indexed" {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(Error::invalid(&at.child("completedIndexes"), new.text("status.completedIndexes"), detail));
    }
    let met = is_true(new, "SuccessCriteriaMet");
    if met && failed {
        fault("cannot set SuccessCriteriaMet=True and Failed=true conditions", errors);
    }
    if met && is_true(new, "FailureTarget") {
        fault("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions", errors);
    }
    for ty in ["Failed", "Complete", "FailureTarget"] {
        if is_true(old, ty) && !is_true(new, ty) {
            fault(&format!("cannot disable the terminal {ty}=True condition"), errors);
        }
    }
    for field in ["failed", "succeeded"] {
        let path = format!("status.{field}");
        if new.number(&path) < old.number(&path) {
            errors.push(Error::invalid(&at.child(field), new.number(&path), format!("cannot decrease the {field} counter")));
        }
    }
    if is_true(old, "SuccessCriteriaMet") && !met {
        fault("cannot disable the SuccessCriteriaMet=True condition", errors);
    }
    if is_true(old, "Complete") && !is_true(old, "SuccessCriteriaMet") && met {
        fault("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions", errors);
    }
}

fn validate_cron_job(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else {
        errors.push(Error::required(&at.child("schedule"), ""));
        return;
    };
    if required(spec, "schedule", &at, "", errors) {
        let schedule = spec.text("schedule");
        let kept = old.is_some_and(|old| old.text("spec.schedule").contains("TZ"));
        let bare = schedule.strip_prefix("TZ=").or(schedule.strip_prefix("CRON_TZ=")).and_then(|rest| rest.split_once(' '));
        let bare = bare.map_or(schedule, |(_, rest)| rest);
        if let Err(detail) = super::cron::check(bare) {
            errors.push(Error::invalid(&at.child("schedule"), schedule, detail));
        }
        if schedule.contains("TZ") {
            if !kept {
                let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
                errors.push(Error::invalid(&at.child("schedule"), schedule, detail));
            } else if spec.has("timeZone") {
                let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
                errors.push(Error::invalid(&at.child("schedule"), schedule, detail));
            }
        }
    }
    not_negative(spec, "startingDeadlineSeconds", &at, errors);
    if old.is_none_or(|old| old.get("spec.timeZone") != new.get("spec.timeZone")) {
        time_zone(spec, &at.child("timeZone"), errors);
    }
    match spec.text("concurrencyPolicy") {
        "" => errors.push(Error::required(&at.child("concurrencyPolicy"), "")),
        "Allow" | "Forbid" | "Replace" => {}
        other => errors.push(Error::not_supported(&at.child("concurrencyPolicy"), other, &["Allow", "Forbid", "Replace"])),
    }
    let template_at = at.child("jobTemplate.spec");
    if let Some(template) = spec.child("jobTemplate.spec") {
        job_spec(template, &template_at, errors);
        if template.has("selector") {
            let shown = value::shown(template, "selector");
            errors.push(Error::invalid(&template_at.child("selector"), shown, "`selector` will be auto-generated"));
        }
        if template.flag("manualSelector") {
            errors.push(Error::not_supported(&template_at.child("manualSelector"), true, &["nil", "false"]));
        }
    }
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        not_negative(spec, field, &at, errors);
    }
    if old.is_none() && new.name().len() > CRON_JOB_NAME_CHARACTERS_MAX {
        errors.push(Error::invalid(&Path::new("metadata.name"), new.name(), "must be no more than 52 characters"));
    }
}

fn time_zone(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    const PART_CHARACTERS_MAX: usize = 14;
    let Some(zone) = spec.text_opt("timeZone") else { return };
    if zone.is_empty() {
        errors.push(Error::invalid(at, zone, "timeZone must be nil or non-empty string"));
        return;
    }
    let sound = |part: &str| {
        part != "."
            && part != ".."
            && !part.starts_with('-')
            && (1..=PART_CHARACTERS_MAX).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+'))
    };
    if !zone.split('/').all(sound) {
        errors.push(Error::invalid(at, zone, format!("unknown time zone {zone}")));
        return;
    }
    if zone.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(Error::invalid(at, zone, detail));
    } else if zone != "UTC" && jiff::tz::db().get(zone).is_err() {
        errors.push(Error::invalid(at, zone, format!("unknown time zone {zone}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_ascend_and_stay_below_the_completions() {
        assert_eq!(count_indexes("1,3-5,7", 10), Ok(5));
        assert_eq!(count_indexes("", 10), Ok(0));
        assert!(count_indexes("3,1", 10).is_err());
        assert!(count_indexes("1-10", 10).is_err());
        assert!(count_indexes("1-2-3", 10).is_err());
    }
}
