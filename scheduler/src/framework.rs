//! The extension points, under upstream's names, and what plugins answer at them.
//!
//! ```text
//!  queue:    PreEnqueue ─► QueueSort ─► (waiting; EnqueueExtensions say which events are worth a retry)
//!  cycle:    PreFilter ─► Filter ─► [PostFilter] ─► PreScore ─► Score ─► NormalizeScore ─► assume ─► [Reserve] ─► [Permit]
//!  binding:  [PreBind] ─► Bind ─► [PostBind]
//! ```
//!
//! A point in brackets has no plugin yet, and so no trait: preemption brings the first, volumes the others.
//!
//! Plugins are dispatched statically: the tables at the end of this page name every plugin once per extension point, in upstream's
//! order. What a plugin computes once per Pod is its `State`; `filter` and `score` then run per node and allocate nothing on success.

use crate::Error;
use crate::api::ApiServer;
use crate::events::ClusterEvent;
use crate::node_info::{NodeIndex, NodeInfo};
use crate::plugins::*;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;

/// The best score that a plugin gives; the worst is 0.
pub const NODE_SCORE_MAX: i64 = 100;

/// Every plugin of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Plugin {
    SchedulingGates,
    PrioritySort,
    NodeName,
    NodeUnschedulable,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    NodeResourcesBalancedAllocation,
    ImageLocality,
    DefaultBinder,
}

impl Plugin {
    pub const ALL: [Self; 11] = [
        Self::SchedulingGates,
        Self::PrioritySort,
        Self::NodeName,
        Self::NodeUnschedulable,
        Self::TaintToleration,
        Self::NodeAffinity,
        Self::NodePorts,
        Self::NodeResourcesFit,
        Self::NodeResourcesBalancedAllocation,
        Self::ImageLocality,
        Self::DefaultBinder,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::SchedulingGates => "SchedulingGates",
            Self::PrioritySort => "PrioritySort",
            Self::NodeName => "NodeName",
            Self::NodeUnschedulable => "NodeUnschedulable",
            Self::TaintToleration => "TaintToleration",
            Self::NodeAffinity => "NodeAffinity",
            Self::NodePorts => "NodePorts",
            Self::NodeResourcesFit => "NodeResourcesFit",
            Self::NodeResourcesBalancedAllocation => "NodeResourcesBalancedAllocation",
            Self::ImageLocality => "ImageLocality",
            Self::DefaultBinder => "DefaultBinder",
        }
    }
}

/// A set of plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plugins(u32);

impl Plugins {
    pub const NONE: Self = Self(0);

    pub fn insert(&mut self, plugin: Plugin) {
        self.0 |= 1 << plugin as u32;
    }

    pub fn contains(self, plugin: Plugin) -> bool {
        self.0 & (1 << plugin as u32) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Plugin> {
        Plugin::ALL.into_iter().filter(move |plugin| self.contains(*plugin))
    }

    /// The names in alphabetic order, as Go prints a list: `[NodeAffinity NodeName]`.
    fn sorted_names(self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.iter().map(Plugin::name).collect();
        names.sort_unstable();
        names
    }
}

impl FromIterator<Plugin> for Plugins {
    fn from_iter<I: IntoIterator<Item = Plugin>>(plugins: I) -> Self {
        let mut set = Self::NONE;
        plugins.into_iter().for_each(|plugin| set.insert(plugin));
        set
    }
}

/// Why a node was turned down. Fixed texts are not copied.
pub type Reason = Cow<'static, str>;

/// A plugin turned a node, or the Pod, down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Nothing that is done to the Pods on the node would help.
    pub unresolvable: bool,
    pub reasons: SmallVec<[Reason; 2]>,
}

impl Rejection {
    pub fn unschedulable(reason: &'static str) -> Self {
        Self { unresolvable: false, reasons: SmallVec::from_iter([Cow::Borrowed(reason)]) }
    }

    pub fn unresolvable(reason: impl Into<Reason>) -> Self {
        Self { unresolvable: true, reasons: SmallVec::from_iter([reason.into()]) }
    }
}

/// What PreFilter found out about a Pod.
#[derive(Debug, PartialEq, Eq)]
pub enum PreFilter<S> {
    /// The plugin has nothing to say about this Pod.
    Skip,
    All(S),
    /// Only these nodes are worth a look.
    Only(S, Vec<NodeIndex>),
    /// No node is.
    Reject(Rejection),
}

/// May the Pod be tried at all?
pub trait PreEnqueue {
    const PLUGIN: Plugin;
    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), String>;
}

/// Which Pod is first: the smaller key.
pub trait QueueSort {
    type Key: Ord + Copy + fmt::Debug;
    /// `since` is when the Pod was queued.
    fn key(&self, pod: &PodInfo, since: tokio::time::Instant) -> Self::Key;
}

/// Which events are worth a retry of a Pod that this plugin has turned down.
pub trait EnqueueExtensions {
    const PLUGIN: Plugin;
    fn is_schedulable_after(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool;
}

pub trait Filter {
    const PLUGIN: Plugin;
    type State<'p>;
    fn pre_filter<'p>(&self, pod: &'p PodInfo, snapshot: &'p Snapshot) -> PreFilter<Self::State<'p>>;
    fn filter(&self, state: &Self::State<'_>, node: &NodeInfo) -> Result<(), Rejection>;
}

pub trait Score {
    const PLUGIN: Plugin;
    const WEIGHT: i64;
    type State<'p>;
    /// `None`: all nodes are alike to this plugin.
    fn pre_score<'p>(&self, pod: &'p PodInfo, snapshot: &'p Snapshot) -> Result<Option<Self::State<'p>>, ScoreError>;
    fn score(&self, state: &Self::State<'_>, node: &NodeInfo) -> i64;
    /// Brings the scores of all feasible nodes into 0 to [`NODE_SCORE_MAX`].
    fn normalize_score(&self, _scores: &mut [i64]) {}
}

/// Makes the choice of a node known to the cluster.
pub trait Bind {
    const PLUGIN: Plugin;
    fn bind(&self, pod: &PodInfo, node: &str, api: &impl ApiServer) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A Pod that cannot be scored.
#[derive(Debug, thiserror::Error)]
#[error("running PreScore plugin {:?}: {source}", .plugin.name())]
pub struct ScoreError {
    pub plugin: Plugin,
    pub source: apiserver_placement::Error,
}

/// Scales the largest score to [`NODE_SCORE_MAX`]; `reverse` makes the smallest the best.
pub fn default_normalize_score(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or_default();
    for score in scores {
        let scaled = if max == 0 { 0 } else { NODE_SCORE_MAX * *score / max };
        *score = if reverse { NODE_SCORE_MAX - scaled } else { scaled };
    }
}

/// Why no node was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    pub nodes: usize,
    /// How many nodes each reason was given for.
    pub reasons: Vec<(Reason, usize)>,
    /// How many nodes were looked at and turned down.
    pub rejected: usize,
    /// Said of the nodes that were not looked at.
    pub absent: Option<String>,
    /// PreFilter turned the Pod down, for every node.
    pub pre_filter: Option<String>,
    pub plugins: Plugins,
}

impl Diagnosis {
    pub(crate) fn add(&mut self, plugin: Plugin, rejection: Rejection) {
        self.rejected += 1;
        self.plugins.insert(plugin);
        for reason in rejection.reasons {
            match self.reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => self.reasons.push((reason, 1)),
            }
        }
    }
}

impl fmt::Display for Diagnosis {
    /// `0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0/{} nodes are available:", self.nodes)?;
        if let Some(message) = &self.pre_filter {
            return write!(f, " {message}.");
        }
        let mut lines: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        if let Some(absent) = self.absent.as_ref().filter(|_| self.rejected < self.nodes) {
            lines.push(format!("{} {absent}", self.nodes - self.rejected));
        }
        lines.sort_unstable();
        if lines.is_empty() { Ok(()) } else { write!(f, " {}.", lines.join(", ")) }
    }
}

/// PreFilter of all plugins: the state for Filter, or why the Pod fits nowhere.
pub struct Candidates<'p> {
    pub filters: FilterStates<'p>,
    /// `None`: all nodes.
    pub only: Option<Vec<NodeIndex>>,
    /// The plugins that narrowed the nodes.
    pub narrowed_by: Plugins,
}

impl Candidates<'_> {
    /// Said of the nodes that PreFilter left out.
    pub fn absent(&self) -> Option<String> {
        self.only.as_ref().map(|_| format!("node(s) didn't satisfy plugin(s) [{}]", self.narrowed_by.sorted_names().join(" ")))
    }

    fn narrow(&mut self, plugin: Plugin, nodes: Vec<NodeIndex>) -> Result<(), (Plugins, Rejection)> {
        self.narrowed_by.insert(plugin);
        // One plugin that names nodes which do not exist leaves an empty list, and that is no contradiction.
        let contradiction = self.only.is_some();
        let nodes = match self.only.take() {
            None => nodes,
            Some(only) => only.into_iter().filter(|node| nodes.contains(node)).collect(),
        };
        if contradiction && nodes.is_empty() {
            let message = format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", self.narrowed_by.sorted_names().join(" "));
            return Err((self.narrowed_by, Rejection::unresolvable(message)));
        }
        self.only = Some(nodes);
        Ok(())
    }
}

macro_rules! filter_plugins {
    ($($field:ident: $plugin:ident),+ $(,)?) => {
        /// What each Filter plugin knows of the Pod; `None` for one that skips it.
        pub struct FilterStates<'p> {
            $($field: Option<<$plugin as Filter>::State<'p>>,)+
        }

        /// Runs PreFilter of every plugin.
        pub fn run_pre_filter_plugins<'p>(pod: &'p PodInfo, snapshot: &'p Snapshot) -> Result<Candidates<'p>, (Plugins, Rejection)> {
            let mut candidates = Candidates { filters: FilterStates { $($field: None,)+ }, only: None, narrowed_by: Plugins::NONE };
            $(match $plugin.pre_filter(pod, snapshot) {
                PreFilter::Skip => {}
                PreFilter::All(state) => candidates.filters.$field = Some(state),
                PreFilter::Only(state, nodes) => {
                    candidates.filters.$field = Some(state);
                    candidates.narrow(<$plugin as Filter>::PLUGIN, nodes)?;
                }
                PreFilter::Reject(rejection) => return Err((Plugins::from_iter([<$plugin as Filter>::PLUGIN]), rejection)),
            })+
            Ok(candidates)
        }

        impl FilterStates<'_> {
            /// Runs Filter of every plugin until one turns the node down.
            #[inline]
            pub fn run(&self, node: &NodeInfo) -> Result<(), (Plugin, Rejection)> {
                $(if let Some(state) = &self.$field {
                    $plugin.filter(state, node).map_err(|rejection| (<$plugin as Filter>::PLUGIN, rejection))?;
                })+
                Ok(())
            }
        }
    };
}

macro_rules! score_plugins {
    ($($field:ident: $plugin:ident),+ $(,)?) => {
        /// What each Score plugin knows of the Pod; `None` for one that skips it.
        pub struct ScoreStates<'p> {
            $($field: Option<<$plugin as Score>::State<'p>>,)+
        }

        impl<'p> ScoreStates<'p> {
            /// Runs PreScore of every plugin.
            pub fn prepare(pod: &'p PodInfo, snapshot: &'p Snapshot) -> Result<Self, ScoreError> {
                Ok(Self { $($field: $plugin.pre_score(pod, snapshot)?,)+ })
            }

            /// Adds every plugin's weighted score to `totals`, which lie beside `nodes`; `scores` is only room to work in.
            pub fn run(&self, snapshot: &Snapshot, nodes: &[NodeIndex], scores: &mut Vec<i64>, totals: &mut [i64]) {
                $(if let Some(state) = &self.$field {
                    scores.clear();
                    scores.extend(nodes.iter().map(|node| $plugin.score(state, snapshot.node(*node))));
                    $plugin.normalize_score(scores);
                    for (total, score) in totals.iter_mut().zip(scores.iter()) {
                        debug_assert!((0..=NODE_SCORE_MAX).contains(score), "{} gave {score}", <$plugin as Score>::PLUGIN.name());
                        *total += score * <$plugin as Score>::WEIGHT;
                    }
                })+
            }
        }
    };
}

macro_rules! enqueue_extensions {
    ($($plugin:ident),+ $(,)?) => {
        /// Whether `plugin`, having turned `pod` down, might not after `event`.
        pub fn is_schedulable_after(plugin: Plugin, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
            $(if plugin == <$plugin as EnqueueExtensions>::PLUGIN {
                return $plugin.is_schedulable_after(pod, event);
            })+
            false
        }
    };
}

filter_plugins! {
    node_name: NodeName,
    node_unschedulable: NodeUnschedulable,
    taint_toleration: TaintToleration,
    node_affinity: NodeAffinity,
    node_ports: NodePorts,
    node_resources_fit: NodeResourcesFit,
}

score_plugins! {
    taint_toleration: TaintToleration,
    node_affinity: NodeAffinity,
    node_resources_fit: NodeResourcesFit,
    node_resources_balanced_allocation: NodeResourcesBalancedAllocation,
    image_locality: ImageLocality,
}

enqueue_extensions! {
    SchedulingGates,
    NodeName,
    NodeUnschedulable,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_counts_reasons_in_order_of_their_text() {
        let mut diagnosis = Diagnosis { nodes: 3, ..Diagnosis::default() };
        diagnosis.add(Plugin::NodeResourcesFit, Rejection::unschedulable("Insufficient cpu"));
        diagnosis.add(Plugin::TaintToleration, Rejection::unresolvable("node(s) had untolerated taint(s)"));
        diagnosis.add(Plugin::NodeResourcesFit, Rejection::unschedulable("Insufficient cpu"));
        assert_eq!(diagnosis.to_string(), "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.");
        assert_eq!(diagnosis.plugins, Plugins::from_iter([Plugin::TaintToleration, Plugin::NodeResourcesFit]));
    }

    #[test]
    fn a_diagnosis_says_what_left_nodes_out() {
        let mut diagnosis = Diagnosis { nodes: 5, absent: Some("node(s) didn't satisfy plugin(s) [NodeAffinity]".into()), ..Diagnosis::default() };
        diagnosis.add(Plugin::NodeResourcesFit, Rejection::unschedulable("Insufficient cpu"));
        assert_eq!(diagnosis.to_string(), "0/5 nodes are available: 1 Insufficient cpu, 4 node(s) didn't satisfy plugin(s) [NodeAffinity].");
        let pre_filter = Diagnosis { nodes: 5, pre_filter: Some("pod affinity terms conflict".into()), ..Diagnosis::default() };
        assert_eq!(pre_filter.to_string(), "0/5 nodes are available: pod affinity terms conflict.");
    }

    #[test]
    fn scores_are_scaled_to_the_largest() {
        #[track_caller]
        fn check(mut scores: Vec<i64>, reverse: bool, expect: &[i64]) {
            default_normalize_score(&mut scores, reverse);
            assert_eq!(scores, expect);
        }
        check(vec![1, 2, 4], false, &[25, 50, 100]);
        check(vec![0, 2, 4], true, &[100, 50, 0]);
        check(vec![0, 0], false, &[0, 0]);
        check(vec![0, 0], true, &[100, 100]);
        check(vec![], true, &[]);
    }

    #[test]
    fn plugins_in_a_set_are_found_again() {
        for plugin in Plugin::ALL {
            let set = Plugins::from_iter([plugin]);
            assert_eq!((set.iter().collect::<Vec<_>>(), set.contains(plugin), set.is_empty()), (vec![plugin], true, false));
        }
        assert_eq!(Plugin::ALL.map(|plugin| plugin as usize), std::array::from_fn(|index| index));
    }
}
