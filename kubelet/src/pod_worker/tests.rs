use super::*;
use crate::view::Sandbox;
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec})).expect("a pod")
}

fn simple(policy: &str) -> Value {
    json!({"restartPolicy": policy, "terminationGracePeriodSeconds": 30, "containers": [{"name": "a", "image": "i"}]})
}

fn sandbox(attempt: u32, ready: bool) -> Sandbox {
    Sandbox { id: format!("s{attempt}"), attempt, ready, created: i64::from(attempt) + 1, ips: vec!["10.0.0.1".to_owned()], ..Default::default() }
}

/// `a:run`, `a:exit0`, `a:exit1@50` (ended at second 50), `a:made`, `a:lost`; in sandbox s0 unless `/s1` follows.
fn container(text: &str, order: usize) -> Container {
    let (text, sandbox) = text.split_once('/').unwrap_or((text, "s0"));
    let (name, state) = text.split_once(':').expect("name:state");
    let (state, finished) = state.split_once('@').map_or((state, 1), |(state, at)| (state, at.parse().expect("a second")));
    let (phase, exit_code) = match state {
        "run" => (Phase::Running, 0),
        "made" => (Phase::Created, 0),
        "lost" => (Phase::Unknown, 0),
        exit => (Phase::Exited, exit.strip_prefix("exit").expect("exitN").parse().expect("a code")),
    };
    Container {
        id: format!("{name}{order}"),
        name: name.to_owned(),
        sandbox: sandbox.to_owned(),
        phase,
        exit_code,
        created: i64::try_from(order).expect("small") + 1,
        finished: if phase == Phase::Exited { finished * SECOND } else { 0 },
        restarts: 0,
        ..Default::default()
    }
}

struct World {
    pod: Pod,
    runtime: RuntimeView,
    prepared: bool,
    torn_down: bool,
    reported: bool,
    gone: bool,
    forgotten: bool,
    started_at: Option<Timestamp>,
    evicted: Option<(String, String)>,
    busy: BTreeMap<Work, Timestamp>,
    holds: BTreeMap<Work, Timestamp>,
    backoffs: Backoffs,
    health: BTreeMap<String, Health>,
}

impl World {
    /// A prepared Pod with a ready sandbox s0 and these containers, oldest first.
    fn new(spec: Value, containers: &[&str]) -> Self {
        let containers = containers.iter().enumerate().map(|(order, text)| container(text, order)).collect();
        Self {
            pod: pod(spec),
            runtime: RuntimeView::new(vec![sandbox(0, true)], containers),
            prepared: true,
            torn_down: false,
            reported: false,
            gone: false,
            forgotten: false,
            started_at: None,
            evicted: None,
            busy: BTreeMap::new(),
            holds: BTreeMap::new(),
            backoffs: Backoffs::default(),
            health: BTreeMap::new(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn deleted(self) -> Self {
        self.with(|world| {
            world.pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(130)));
            world.pod.metadata.deletion_grace_period_seconds = Some(30);
        })
    }

    fn step(&self, state: &State) -> Step {
        let seen = Seen {
            runtime: &self.runtime,
            prepared: self.prepared,
            torn_down: self.torn_down,
            reported: self.reported,
            gone: self.gone,
            forgotten: self.forgotten,
            started_at: self.started_at,
            evicted: self.evicted.as_ref(),
            busy: &self.busy,
            holds: &self.holds,
            backoffs: &self.backoffs,
            health: &self.health,
        };
        step(state, &self.pod, &seen, at(100))
    }

    /// From `Running`: the name of the state that follows, and the effects in short.
    fn check(&self, state: &str, effects: &[&str]) {
        self.check_from(&State::Running, state, effects);
    }

    fn check_from(&self, from: &State, state: &str, effects: &[&str]) {
        let step = self.step(from);
        let shown: Vec<String> = step.effects.iter().map(short).collect();
        assert_eq!((name(&step.state), shown.iter().map(String::as_str).collect::<Vec<_>>()), (state, effects.to_vec()));
    }
}

fn name(state: &State) -> &'static str {
    match state {
        State::Starting => "Starting",
        State::Initializing => "Initializing",
        State::Running => "Running",
        State::Terminating { .. } => "Terminating",
        State::Terminated { .. } => "Terminated",
        State::Gone => "Gone",
    }
}

fn short(effect: &Effect) -> String {
    match effect {
        Effect::Prepare => "prepare".to_owned(),
        Effect::RunSandbox { attempt, stop } => format!("sandbox {attempt} stop [{}]", stop.join(" ")),
        Effect::StopSandbox { id } => format!("stop {id}"),
        Effect::Start { name, attempt, .. } => format!("start {name} {attempt}"),
        Effect::Kill { id, deadline, why, .. } => format!("kill {id} by {} {why:?}", deadline.as_second()),
        Effect::TearDown => "tear down".to_owned(),
        Effect::Delete => "delete".to_owned(),
        Effect::Forget => "forget".to_owned(),
    }
}

fn deleted_from() -> State {
    State::Terminating { cause: Cause::Deleted, deadline: at(130) }
}

#[test]
fn a_new_pod_is_prepared_then_gets_a_sandbox_then_its_containers() {
    let nothing = |world: &mut World| world.runtime = RuntimeView::default();
    let new = World::new(simple("Always"), &[]).with(nothing).with(|world| world.prepared = false);
    new.check_from(&State::Starting, "Starting", &["prepare"]);
    World::new(simple("Always"), &[]).with(nothing).check_from(&State::Starting, "Starting", &["sandbox 0 stop []"]);
    World::new(simple("Always"), &[]).check_from(&State::Starting, "Running", &["start a 0"]);
    World::new(simple("Always"), &["a:run"]).check("Running", &[]);
}

#[test]
fn what_is_in_flight_is_not_asked_for_again() {
    let flying = |work: Work| {
        move |world: &mut World| {
            world.busy.insert(work, Timestamp::MAX);
        }
    };
    World::new(simple("Always"), &[]).with(flying(Work::Start("a".to_owned()))).check("Running", &[]);
    let new = World::new(simple("Always"), &[]).with(|world| world.prepared = false).with(flying(Work::Prepare));
    new.check_from(&State::Starting, "Starting", &[]);
}

#[test]
fn what_failed_lately_is_held_back_until_its_time() {
    let held = World::new(simple("Always"), &[]).with(|world| {
        world.holds.insert(Work::Start("a".to_owned()), at(105));
    });
    held.check("Running", &[]);
    assert_eq!(held.step(&State::Running).again, Some(at(105)));
    World::new(simple("Always"), &[])
        .with(|world| {
            world.holds.insert(Work::Start("a".to_owned()), at(100));
        })
        .check("Running", &["start a 0"]);
}

#[test]
fn ended_containers_restart_by_policy() {
    World::new(simple("Always"), &["a:exit0"]).check("Running", &["start a 1"]);
    World::new(simple("OnFailure"), &["a:exit1"]).check("Running", &["start a 1"]);
    World::new(simple("OnFailure"), &["a:exit0"]).check("Terminating", &["stop s0"]);
    World::new(simple("Never"), &["a:exit1"]).check("Terminating", &["stop s0"]);
    World::new(simple("Never"), &["a:made"]).check("Running", &["start a 1"]);
}

#[test]
fn a_crash_loop_waits_out_its_back_off() {
    let world = World::new(simple("Always"), &["a:exit1@95"]).with(|world| world.backoffs.next("a", at(80), at(80)));
    let step = world.step(&State::Running);
    assert_eq!(step.effects, []);
    assert_eq!(step.again, Some(at(105)));
    assert_eq!(step.crash_loops, BTreeMap::from([("a".to_owned(), SignedDuration::from_secs(10))]));
}

#[test]
fn a_container_being_started_is_not_in_a_crash_loop() {
    let world = World::new(simple("Always"), &["a:exit1@95"]).with(|world| world.backoffs.next("a", at(95), at(95))).with(|world| {
        world.busy.insert(Work::Start("a".to_owned()), Timestamp::MAX);
    });
    let step = world.step(&State::Running);
    assert_eq!((step.effects.len(), step.crash_loops.len()), (0, 0));
}

#[test]
fn containers_start_one_at_a_time_in_order() {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    World::new(spec.clone(), &[]).check("Running", &["start a 0"]);
    World::new(spec.clone(), &["a:run"]).check("Running", &["start b 0"]);
    let starting = World::new(spec, &[]).with(|world| {
        world.busy.insert(Work::Start("a".to_owned()), Timestamp::MAX);
    });
    starting.check("Running", &[]);
}

#[test]
fn a_container_that_fails_its_probe_is_killed_and_then_restarted() {
    let sick = |policy: &str| {
        World::new(simple(policy), &["a:run"]).with(|world| {
            world.health.insert("a0".to_owned(), Health { liveness: Some(false), startup: None });
        })
    };
    sick("Always").check("Running", &["kill a0 by 130 Liveness"]);
    // With policy Never nothing is left to run: the Pod ends.
    sick("Never").check("Terminating", &["kill a0 by 130 Liveness", "kill a0 by 130 Pod"]);
}

#[test]
fn a_changed_image_restarts_the_container() {
    let world = World::new(simple("Never"), &["a:run"]).with(|world| world.runtime.containers[0].hash = "other".to_owned());
    world.check("Running", &["kill a0 by 130 Changed"]);
}

#[test]
fn init_containers_run_in_order_before_the_others() {
    let spec = |policy: &str| json!({"restartPolicy": policy, "initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    World::new(spec("Always"), &[]).check("Initializing", &["start i 0"]);
    World::new(spec("Always"), &["i:run"]).check("Initializing", &[]);
    World::new(spec("Always"), &["i:exit0"]).check("Initializing", &["start j 0"]);
    World::new(spec("Always"), &["i:exit0", "j:exit1"]).check("Initializing", &["start j 1"]);
    World::new(spec("Never"), &["i:exit0", "j:exit1"]).check("Terminating", &["stop s0"]);
    World::new(spec("Always"), &["i:exit0", "j:exit0"]).check("Running", &["start a 0"]);
    World::new(spec("Always"), &["j:exit0", "a:run"]).check("Running", &[]);
    // A new sandbox initializes anew.
    let anew = World::new(spec("Always"), &["i:exit0", "j:exit0", "a:exit0"])
        .with(|world| world.runtime.sandboxes = vec![sandbox(1, true), sandbox(0, false)]);
    anew.check("Initializing", &["start i 1"]);
}

#[test]
fn a_sidecar_lets_the_next_start_once_it_is_started_and_is_kept_running() {
    let spec = |probe: Value| json!({"initContainers": [{"name": "s", "restartPolicy": "Always", "startupProbe": probe}, {"name": "i"}], "containers": [{"name": "a"}]});
    World::new(spec(Value::Null), &[]).check("Initializing", &["start s 0"]);
    World::new(spec(Value::Null), &["s:run"]).check("Initializing", &["start i 0"]);
    World::new(spec(json!({})), &["s:run"]).check("Initializing", &[]);
    let started = World::new(spec(json!({})), &["s:run"]).with(|world| {
        world.health.insert("s0".to_owned(), Health { startup: Some(true), liveness: None });
    });
    started.check("Initializing", &["start i 0"]);
    World::new(spec(Value::Null), &["s:exit1", "i:exit0", "a:run"]).check("Running", &["start s 1"]);
}

#[test]
fn sidecars_end_after_the_others_and_from_the_last_to_the_first() {
    let spec = json!({"terminationGracePeriodSeconds": 30, "containers": [{"name": "a"}],
        "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "t", "restartPolicy": "Always"}]});
    let ending = |containers: &[&str]| World::new(spec.clone(), containers).deleted();
    ending(&["s:run", "t:run", "a:run"]).check("Terminating", &["kill a2 by 130 Pod"]);
    ending(&["s:run", "t:run", "a:exit0"]).check("Terminating", &["kill t1 by 130 Pod"]);
    ending(&["s:run", "t:exit0", "a:exit0"]).check("Terminating", &["kill s0 by 130 Pod"]);
    ending(&["s:exit0", "t:exit0", "a:exit0"]).check("Terminating", &["stop s0"]);
    // Out of time, a sidecar still gets a moment.
    let late = State::Terminating { cause: Cause::Deleted, deadline: at(90) };
    ending(&["s:run", "t:exit0", "a:exit0"]).check_from(&late, "Terminating", &["kill s0 by 102 Pod"]);
}

#[test]
fn a_deleted_pod_ends_is_torn_down_reported_and_only_then_deleted() {
    let ended = |change: fn(&mut World)| {
        World::new(simple("Always"), &["a:exit0"]).deleted().with(|world| world.runtime.sandboxes[0].ready = false).with(change)
    };
    ended(|_| {}).check_from(&deleted_from(), "Terminated", &["tear down"]);
    ended(|world| world.torn_down = true).check_from(&deleted_from(), "Terminated", &[]);
    ended(|world| (world.torn_down, world.reported) = (true, true)).check_from(&deleted_from(), "Terminated", &["delete"]);
    ended(|world| (world.torn_down, world.gone) = (true, true)).check_from(&deleted_from(), "Terminated", &["forget"]);
    ended(|world| (world.torn_down, world.gone, world.forgotten) = (true, true, true)).check_from(&deleted_from(), "Gone", &[]);
}

#[test]
fn a_shorter_grace_period_hastens_a_kill_in_flight() {
    let ending = |grace| {
        World::new(simple("Always"), &["a:run"]).deleted().with(|world| world.pod.metadata.deletion_grace_period_seconds = Some(grace)).with(
            |world| {
                world.busy.insert(Work::Kill("a0".to_owned()), at(130));
            },
        )
    };
    ending(30).check_from(&deleted_from(), "Terminating", &[]);
    ending(5).check_from(&deleted_from(), "Terminating", &["kill a0 by 105 Pod"]);
    ending(0).check_from(&deleted_from(), "Terminating", &["kill a0 by 101 Pod"]);
}

#[test]
fn an_ending_pod_starts_nothing_and_waits_for_what_is_in_flight() {
    World::new(simple("Always"), &["a:exit1"]).deleted().check("Terminating", &["stop s0"]);
    let starting = World::new(simple("Always"), &[]).deleted().with(|world| {
        world.busy.insert(Work::Start("a".to_owned()), Timestamp::MAX);
    });
    starting.check("Terminating", &[]);
}

#[test]
fn a_lost_sandbox_is_made_again_after_its_containers_ended() {
    let lost = |policy: &str, containers: &[&str]| World::new(simple(policy), containers).with(|world| world.runtime.sandboxes[0].ready = false);
    lost("Always", &["a:run"]).check("Starting", &["kill a0 by 130 SandboxLost"]);
    lost("Always", &["a:exit137"]).check("Starting", &["sandbox 1 stop [s0]"]);
    lost("OnFailure", &["a:exit0"]).check("Terminated", &["tear down"]);
    lost("Never", &["a:exit1"]).check("Terminated", &["tear down"]);
    lost("Never", &[]).check("Starting", &["sandbox 1 stop [s0]"]);
}

#[test]
fn the_active_deadline_fails_the_pod() {
    let mut spec = simple("Always");
    spec["activeDeadlineSeconds"] = json!(20);
    let world = |started| World::new(spec.clone(), &["a:run"]).with(|world| world.started_at = Some(at(started)));
    assert_eq!(world(90).step(&State::Running).again, Some(at(110)));
    let step = world(80).step(&State::Running);
    let State::Terminating { cause: Cause::Failed { reason, .. }, .. } = &step.state else { panic!("{step:?}") };
    assert_eq!(reason, "DeadlineExceeded");
    assert_eq!(step.effects.iter().map(short).collect::<Vec<_>>(), ["kill a0 by 130 Pod"]);
}

#[test]
fn an_ephemeral_container_starts_once_and_never_again() {
    let mut spec = simple("Always");
    spec["ephemeralContainers"] = json!([{"name": "debug"}]);
    World::new(spec.clone(), &["a:run"]).check("Running", &["start debug 0"]);
    World::new(spec, &["a:run", "debug:exit1"]).check("Running", &[]);
}

#[test]
fn a_container_that_shows_up_after_the_end_is_ended_too() {
    let world = World::new(simple("Always"), &["a:run"]).deleted().with(|world| world.torn_down = true);
    world.check_from(&State::Terminated { cause: Cause::Deleted }, "Terminating", &["kill a0 by 130 Pod"]);
}

#[test]
fn the_api_remembers_restarts_that_the_runtime_lost() {
    let world = World::new(simple("Always"), &[]).with(|world| {
        let status =
            json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 4, "containerID": "x://y"}]});
        world.pod.status = Some(serde_json::from_value(status).expect("a status"));
    });
    world.check("Running", &["start a 5"]);
}

#[test]
fn after_a_restart_of_the_kubelet_any_state_leads_to_the_same_effects() {
    for state in [State::Starting, State::Initializing, State::Running] {
        World::new(simple("Always"), &["a:run"]).check_from(&state, "Running", &[]);
        World::new(simple("Always"), &["a:run"]).deleted().check_from(&state, "Terminating", &["kill a0 by 130 Pod"]);
    }
}
