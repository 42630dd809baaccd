use super::*;
use controllers_runtime::Action;
use serde_json::{Value, json};

fn cron(spec: Value, status: Value) -> Arc<CronJob> {
    let mut cron = json!({
        "metadata": {"namespace": "a", "name": "c", "uid": "cron", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"schedule": "0 * * * *", "jobTemplate": {"metadata": {"labels": {"l": "v"}}, "spec": {"template": {"spec": {"containers": [], "restartPolicy": "Never"}}}}},
        "status": status
    });
    cron["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(cron).unwrap())
}

/// Made for a time, and in a state: "" runs.
fn job(at: &str, state: &str) -> Arc<Job> {
    let time: Timestamp = at.parse().unwrap();
    let name = format!("c-{}", time.as_second() / 60);
    let conditions: Vec<Value> = if state.is_empty() { vec![] } else { vec![json!({"type": state, "status": "True"})] };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"namespace": "a", "name": name, "uid": name, "annotations": {"batch.kubernetes.io/cronjob-scheduled-timestamp": at}},
            "status": {"startTime": at, "completionTime": if state == "Complete" { json!(at) } else { Value::Null }, "conditions": conditions}
        }))
        .unwrap(),
    )
}

fn active(jobs: &[&Arc<Job>]) -> Value {
    jobs.iter().map(|job| json!({"name": job.metadata.name, "uid": job.metadata.uid, "kind": "Job"})).collect()
}

fn planned(cron: &Arc<CronJob>, jobs: &[Arc<Job>], now: &str) -> Plan {
    plan::plan(&Observed { cron: cron.clone(), jobs: jobs.to_vec(), missing: BTreeSet::new() }, now.parse().unwrap())
}

#[track_caller]
fn check(cron: &Arc<CronJob>, jobs: &[Arc<Job>], now: &str, expect: &[&str], reasons: &[&str]) {
    let plan = planned(cron, jobs, now);
    assert_eq!(
        (plan.describe(), plan.events.iter().map(|event| event.reason).collect::<Vec<_>>()),
        (expect.iter().map(ToString::to_string).collect(), reasons.to_vec())
    );
}

const AT_ONE: &str = "2026-01-01T01:00:00Z";
const CREATE_AT_ONE: &str = "create jobs.batch a/c-29453820";

#[test]
fn a_job_is_made_at_its_time_with_the_time_in_name_and_annotation() {
    let cron = cron(json!({}), json!({}));
    check(&cron, &[], "2026-01-01T00:59:00Z", &[], &[]);
    assert_eq!(planned(&cron, &[], "2026-01-01T00:59:00Z").again_at, Some("2026-01-01T01:00:00.1Z".parse().unwrap()));
    let plan = planned(&cron, &[], "2026-01-01T01:00:01Z");
    assert_eq!((plan.describe(), plan.again_at), (vec![CREATE_AT_ONE.to_string()], Some("2026-01-01T02:00:00.1Z".parse().unwrap())));
    let Action::Create { object, .. } = &plan.actions[0] else { panic!() };
    assert_eq!(object["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"], AT_ONE);
    assert_eq!((&object["metadata"]["labels"], &object["metadata"]["ownerReferences"][0]["kind"]), (&json!({"l": "v"}), &json!("CronJob")));
}

#[test]
fn a_job_that_was_made_is_noted_once_and_not_made_again() {
    let made = job(AT_ONE, "");
    let plan = planned(&cron(json!({}), json!({})), std::slice::from_ref(&made), "2026-01-01T01:00:02Z");
    let status = plan.describe().pop().unwrap();
    assert!(
        plan.actions.is_empty() && status.contains(r#""lastScheduleTime":"2026-01-01T01:00:00Z""#) && status.contains(r#""uid":"c-29453820""#),
        "{status}"
    );
    let noted = cron(json!({}), json!({"lastScheduleTime": AT_ONE, "active": active(&[&made])}));
    check(&noted, &[made], "2026-01-01T01:00:03Z", &[], &[]);
}

#[test]
fn a_job_that_is_over_leaves_the_status_and_its_success_is_remembered() {
    let done = job(AT_ONE, "Complete");
    let noted = cron(json!({}), json!({"lastScheduleTime": AT_ONE, "active": active(&[&done])}));
    let status = r#"patch cronjobs.batch a/c/status {"metadata":{"resourceVersion":"7"},"status":{"active":null,"lastSuccessfulTime":"2026-01-01T01:00:00Z"}}"#;
    check(&noted, &[done], "2026-01-01T01:30:00Z", &[status], &["SawCompletedJob"]);
    let quick = planned(&cron(json!({}), json!({})), &[job(AT_ONE, "Complete")], "2026-01-01T01:30:00Z");
    assert!(!quick.status.unwrap().to_string().contains("active"), "over before it was noted");
}

#[test]
fn of_jobs_that_are_over_the_newest_are_kept() {
    let jobs = [
        job("2026-01-01T01:00:00Z", "Complete"),
        job("2026-01-01T02:00:00Z", "Failed"),
        job("2026-01-01T03:00:00Z", "Complete"),
        job("2026-01-01T04:00:00Z", "Failed"),
    ];
    let limited = cron(
        json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1}),
        json!({"lastScheduleTime": "2026-01-01T04:00:00Z", "lastSuccessfulTime": "2026-01-01T03:00:00Z"}),
    );
    check(&limited, &jobs, "2026-01-01T04:10:00Z", &["delete jobs.batch a/c-29453820 Background", "delete jobs.batch a/c-29453880 Background"], &[]);
}

#[test]
fn a_policy_says_what_happens_while_one_still_runs() {
    let running = job(AT_ONE, "");
    let with = |policy: &str| cron(json!({"concurrencyPolicy": policy}), json!({"lastScheduleTime": AT_ONE, "active": active(&[&running])}));
    let at = "2026-01-01T02:00:01Z";
    check(&with("Allow"), std::slice::from_ref(&running), at, &["create jobs.batch a/c-29453880"], &[]);
    check(&with("Forbid"), std::slice::from_ref(&running), at, &[], &["JobAlreadyActive"]);
    let plan = planned(&with("Replace"), std::slice::from_ref(&running), at);
    assert_eq!(
        plan.actions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["delete jobs.batch a/c-29453820 Background", "create jobs.batch a/c-29453880"]
    );
}

#[test]
fn missed_times_are_made_up_for_once_within_the_deadline() {
    let missed = |spec: Value| cron(spec, json!({"lastScheduleTime": "2026-01-01T00:00:00Z"}));
    check(&missed(json!({})), &[], "2026-01-01T05:30:00Z", &["create jobs.batch a/c-29454060"], &[]);
    check(&missed(json!({"startingDeadlineSeconds": 600})), &[], "2026-01-01T05:30:00Z", &[], &[]);
    check(&missed(json!({"startingDeadlineSeconds": 3000})), &[], "2026-01-01T05:30:00Z", &["create jobs.batch a/c-29454060"], &[]);
    check(&missed(json!({"schedule": "* * * * *"})), &[], "2026-01-01T05:30:00Z", &["create jobs.batch a/c-29454090"], &["TooManyMissedTimes"]);
}

#[test]
fn what_is_suspended_wrong_or_being_deleted_makes_nothing() {
    let at = "2026-01-01T01:00:01Z";
    check(&cron(json!({"suspend": true}), json!({})), &[], at, &[], &[]);
    check(&cron(json!({"schedule": "every day"}), json!({})), &[], at, &[], &["UnparseableSchedule"]);
    check(&cron(json!({"timeZone": "Mars/Base"}), json!({})), &[], at, &[], &["UnknownTimeZone"]);
    check(&cron(json!({"schedule": "TZ=UTC 0 * * * *"}), json!({})), &[], at, &[CREATE_AT_ONE], &["UnsupportedSchedule"]);
    let mut leaving = (*cron(json!({}), json!({}))).clone();
    leaving.metadata.deletion_timestamp = Some(apiserver_client::time::to_time(at.parse().unwrap()));
    check(&Arc::new(leaving), &[], at, &[], &[]);
}

#[test]
fn a_time_zone_decides_when_a_day_begins() {
    let plan = planned(&cron(json!({"schedule": "0 8 * * *", "timeZone": "Europe/Berlin"}), json!({})), &[], "2026-01-01T07:00:01Z");
    let Action::Create { object, .. } = &plan.actions[0] else { panic!() };
    assert_eq!(object["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2026-01-01T08:00:00+01:00");
}

#[test]
fn strangers_and_missing_jobs_are_reported() {
    let mut stranger = (*job(AT_ONE, "")).clone();
    stranger.metadata.annotations = None;
    let cron = cron(json!({}), json!({"lastScheduleTime": AT_ONE, "active": [{"name": "gone", "uid": "gone"}]}));
    let observed = Observed { cron, jobs: vec![Arc::new(stranger)], missing: BTreeSet::from(["gone".to_string()]) };
    let plan = plan::plan(&observed, "2026-01-01T01:30:00Z".parse().unwrap());
    assert_eq!(plan.events.iter().map(|event| event.reason).collect::<Vec<_>>(), ["UnexpectedJob", "MissingJob"]);
    assert!(plan.status.unwrap().to_string().contains(r#""active":null"#));
}
