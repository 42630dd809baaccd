//! Which core v1 Event to write for a report: upstream's correlator, with its limits.
//!
//! 1. Combine: after 10 reports in 10 minutes that differ only in their message, the rest become one "(combined from similar events)".
//! 2. Count: a report equal to an earlier one patches that one's count.
//! 3. Drop: per object, 25 at once and one every 5 minutes after that.

use super::*;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use tokio::time::Instant;

const CACHE_ENTRIES_MAX: usize = 4096;
const SIMILAR_MAX: usize = 10;
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;

pub(super) struct Correlator {
    component: String,
    host: String,
    similar: Bounded<Similar, SimilarState>,
    logged: Bounded<Logged, LoggedState>,
    spam: Bounded<Object, Bucket>,
}

/// The identity of the object an event is about.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Object {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    api_version: String,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Similar {
    object: Object,
    kind: EventType,
    reason: String,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Logged {
    similar: Similar,
    field_path: String,
    /// None for combined events.
    message: Option<String>,
}

struct SimilarState {
    messages: HashSet<String>,
    last: Instant,
}

#[derive(Clone)]
struct LoggedState {
    name: String,
    count: i32,
    first: Timestamp,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Correlator {
    pub fn new(component: &str, host: &str) -> Self {
        Self { component: component.into(), host: host.into(), similar: Bounded::default(), logged: Bounded::default(), spam: Bounded::default() }
    }

    pub fn observe(&mut self, event: Emitted, now: Instant) -> Option<Write<v1::Event>> {
        let similar = Similar { object: object(&event.regarding), kind: event.kind, reason: event.reason.clone() };
        let combined = self.combine(&similar, &event.message, now);
        let message = if combined { format!("(combined from similar events): {}", event.message) } else { event.message.clone() };
        let logged = Logged {
            message: (!combined).then_some(event.message.clone()),
            field_path: if combined { String::new() } else { event.regarding.field_path.clone().unwrap_or_default() },
            similar,
        };
        let before = self.logged.get(&logged).cloned();
        let state = match &before {
            Some(before) => LoggedState { count: before.count.saturating_add(1), ..before.clone() },
            None => LoggedState { name: event_name(&event.regarding, event.at), count: 1, first: event.at },
        };
        let object = logged.similar.object.clone();
        self.logged.put(logged, state.clone());
        if !self.allowed(object, now) {
            return None;
        }
        let create = self.render(&event, &message, &state);
        Some(match before {
            None => Write::Create(create),
            Some(before) => {
                let patch = json!({"count": state.count, "lastTimestamp": time::rfc3339(event.at), "message": message});
                Write::Patch {
                    name: before.name,
                    patch,
                    create: v1::Event { metadata: meta(&event, event_name(&event.regarding, event.at)), ..create },
                }
            }
        })
    }

    /// A patched Event that had expired was written under a new name: later counts go there.
    pub fn written(&mut self, event: &v1::Event) {
        let similar = Similar {
            object: object(&event.involved_object),
            kind: if event.type_.as_deref() == Some("Warning") { EventType::Warning } else { EventType::Normal },
            reason: event.reason.clone().unwrap_or_default(),
        };
        let key = Logged { similar, field_path: event.involved_object.field_path.clone().unwrap_or_default(), message: event.message.clone() };
        if let (Some(state), Some(name)) = (self.logged.get_mut(&key), &event.metadata.name) {
            state.name.clone_from(name);
        }
    }

    fn combine(&mut self, similar: &Similar, message: &str, now: Instant) -> bool {
        let expired = self.similar.get(similar).is_none_or(|state| now.saturating_duration_since(state.last) > SIMILAR_WINDOW);
        if expired {
            self.similar.put(similar.clone(), SimilarState { messages: HashSet::new(), last: now });
        }
        let Some(state) = self.similar.get_mut(similar) else { return false };
        state.last = now;
        state.messages.insert(message.to_string());
        if state.messages.len() < SIMILAR_MAX {
            return false;
        }
        // Keeps the set bounded without forgetting that it is full.
        if let Some(any) = state.messages.iter().next().cloned() {
            state.messages.remove(&any);
        }
        true
    }

    fn allowed(&mut self, object: Object, now: Instant) -> bool {
        let bucket = self.spam.get(&object);
        let tokens =
            bucket.map_or(BURST, |bucket| (bucket.tokens + now.saturating_duration_since(bucket.at).as_secs_f64() * REFILL_PER_SECOND).min(BURST));
        let allowed = tokens >= 1.0;
        self.spam.put(object, Bucket { tokens: if allowed { tokens - 1.0 } else { tokens }, at: now });
        allowed
    }

    fn render(&self, event: &Emitted, message: &str, state: &LoggedState) -> v1::Event {
        v1::Event {
            metadata: meta(event, state.name.clone()),
            involved_object: event.regarding.clone(),
            related: event.related.clone(),
            reason: Some(event.reason.clone()),
            message: Some(message.to_string()),
            type_: Some(event.kind.as_str().into()),
            count: Some(state.count),
            first_timestamp: Some(time::to_time(state.first)),
            last_timestamp: Some(time::to_time(event.at)),
            source: Some(v1::EventSource { component: Some(self.component.clone()), host: Some(self.host.clone()).filter(|host| !host.is_empty()) }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone()).filter(|host| !host.is_empty()),
            ..Default::default()
        }
    }
}

fn meta(event: &Emitted, name: String) -> kube::core::ObjectMeta {
    kube::core::ObjectMeta { name: Some(name), namespace: Some(namespace_of(event.regarding.namespace.as_deref())), ..Default::default() }
}

fn object(reference: &ObjectReference) -> Object {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Object {
        kind: text(&reference.kind),
        namespace: text(&reference.namespace),
        name: text(&reference.name),
        uid: text(&reference.uid),
        api_version: text(&reference.api_version),
    }
}

/// A map that forgets what was put longest ago once it holds [`CACHE_ENTRIES_MAX`].
struct Bounded<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    fn put(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
            if self.order.len() > CACHE_ENTRIES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emitted(message: &str) -> Emitted {
        Emitted {
            regarding: ObjectReference { kind: Some("Pod".into()), name: Some("p".into()), namespace: Some("a".into()), ..Default::default() },
            related: None,
            kind: EventType::Warning,
            reason: "BackOff".into(),
            action: String::new(),
            message: message.into(),
            at: "2026-01-02T03:04:05Z".parse().unwrap(),
        }
    }

    fn told(write: Option<Write<v1::Event>>) -> String {
        match write {
            None => "dropped".into(),
            Some(Write::Create(event)) => format!("create {}", event.message.unwrap()),
            Some(Write::Patch { patch, .. }) => format!("count {} {}", patch["count"], patch["message"].as_str().unwrap()),
        }
    }

    #[test]
    fn equal_reports_are_counted() {
        let (mut correlator, now) = (Correlator::new("kubelet", "n1"), Instant::now());
        assert_eq!(told(correlator.observe(emitted("x"), now)), "create x");
        assert_eq!(told(correlator.observe(emitted("x"), now)), "count 2 x");
        assert_eq!(told(correlator.observe(emitted("y"), now)), "create y");
        assert_eq!(told(correlator.observe(emitted("x"), now)), "count 3 x");
    }

    #[test]
    fn the_tenth_similar_report_is_combined() {
        let (mut correlator, now) = (Correlator::new("kubelet", "n1"), Instant::now());
        for number in 1..10 {
            assert_eq!(told(correlator.observe(emitted(&number.to_string()), now)), format!("create {number}"));
        }
        assert_eq!(told(correlator.observe(emitted("10"), now)), "create (combined from similar events): 10");
        assert_eq!(told(correlator.observe(emitted("11"), now)), "count 2 (combined from similar events): 11");
        let later = now + SIMILAR_WINDOW + Duration::from_secs(1);
        assert_eq!(told(correlator.observe(emitted("12"), later)), "create 12");
    }

    #[test]
    fn an_object_may_report_25_times_and_then_once_in_5_minutes() {
        let (mut correlator, now) = (Correlator::new("kubelet", "n1"), Instant::now());
        for _ in 0..25 {
            assert_ne!(told(correlator.observe(emitted("x"), now)), "dropped");
        }
        assert_eq!(told(correlator.observe(emitted("x"), now)), "dropped");
        assert_eq!(told(correlator.observe(emitted("x"), now + Duration::from_secs(301))), "count 27 x");
        assert_eq!(told(correlator.observe(emitted("x"), now + Duration::from_secs(302))), "dropped");
    }

    #[test]
    fn an_event_that_was_written_anew_is_counted_under_its_new_name() {
        let (mut correlator, now) = (Correlator::new("kubelet", "n1"), Instant::now());
        correlator.observe(emitted("x"), now);
        let Some(Write::Patch { create, .. }) = correlator.observe(emitted("x"), now) else { panic!() };
        let renamed = v1::Event { metadata: kube::core::ObjectMeta { name: Some("p.new".into()), ..create.metadata.clone() }, ..create };
        correlator.written(&renamed);
        let Some(Write::Patch { name, .. }) = correlator.observe(emitted("x"), now) else { panic!() };
        assert_eq!(name, "p.new");
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut bounded = Bounded::default();
        for key in 0..CACHE_ENTRIES_MAX + 10 {
            bounded.put(key, ());
        }
        assert_eq!((bounded.entries.len(), bounded.order.len()), (CACHE_ENTRIES_MAX, CACHE_ENTRIES_MAX));
        assert!(bounded.get(&9).is_none() && bounded.get(&10).is_some());
    }
}
