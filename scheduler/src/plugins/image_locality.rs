//! Nodes that have the Pod's images already are better; less so an image that few nodes have, lest they all get hot.

use crate::framework::{NODE_SCORE_MAX, Plugin, Score, ScoreError};
use crate::images::ImageState;
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;
use std::borrow::Cow;

const MIB: i64 = 1024 * 1024;
/// Images below are as good as absent.
const BYTES_MIN: i64 = 23 * MIB;
/// Images above, per container, are as good as this.
const BYTES_MAX: i64 = 1000 * MIB;

pub struct ImageLocality;

/// The Pod's images that some node has.
pub struct Known<'p> {
    /// Bytes, scaled by the share of nodes that have the image.
    images: Vec<(i64, &'p ImageState)>,
    wanted: i64,
}

impl Score for ImageLocality {
    const PLUGIN: Plugin = Plugin::ImageLocality;
    const WEIGHT: i64 = 1;
    type State<'p> = Known<'p>;

    fn pre_score<'p>(&self, pod: &'p PodInfo, snapshot: &'p Snapshot) -> Result<Option<Known<'p>>, ScoreError> {
        let Some(spec) = &pod.pod.spec else { return Ok(None) };
        let containers =
            spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| container.image.as_deref().unwrap_or_default());
        let volumes =
            spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref()).map(|image| image.reference.as_deref().unwrap_or_default());
        let nodes = snapshot.order().len();
        let (mut images, mut wanted) = (Vec::new(), 0);
        for name in containers.chain(volumes) {
            wanted += 1;
            if let Some(state) = snapshot.images.get(&normalized(name)) {
                images.push(((state.bytes as f64 * (state.nodes() as f64 / nodes as f64)) as i64, state));
            }
        }
        Ok((!images.is_empty()).then_some(Known { images, wanted }))
    }

    #[inline]
    fn score(&self, known: &Known<'_>, node: &NodeInfo) -> i64 {
        let sum: i64 = known.images.iter().filter(|(_, state)| state.is_on(node.index)).map(|(bytes, _)| bytes).sum();
        let max = BYTES_MAX * known.wanted;
        NODE_SCORE_MAX * (sum.clamp(BYTES_MIN, max) - BYTES_MIN) / (max - BYTES_MIN)
    }
}

/// Nodes report tags; `latest` is meant where none is given.
fn normalized(name: &str) -> Cow<'_, str> {
    if name.rfind(':') <= name.rfind('/') { Cow::Owned(format!("{name}:latest")) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{info, node, snapshot};
    use serde_json::{Value, json};

    #[test]
    fn names_get_their_tag() {
        for (name, expect) in [
            ("a", "a:latest"),
            ("a:1", "a:1"),
            ("host:5000/a", "host:5000/a:latest"),
            ("host:5000/a:1", "host:5000/a:1"),
            ("a@sha256:0", "a@sha256:0"),
        ] {
            assert_eq!(normalized(name), expect);
        }
    }

    #[track_caller]
    fn check(images: &[&str], expect: Option<[i64; 2]>) {
        let has = |names: &[(&str, i64)]| json!({"status": {"images": names.iter().map(|(name, mib)| json!({"names": [name], "sizeBytes": mib * MIB})).collect::<Value>()}});
        let snapshot = snapshot(&[node("n1", has(&[("big:latest", 2000), ("small:1", 10), ("both:1", 523)])), node("n2", has(&[("both:1", 523)]))]);
        let containers: Vec<_> = images.iter().enumerate().map(|(number, image)| json!({"name": format!("c{number}"), "image": image})).collect();
        let pod = info(json!({"containers": containers}));
        let state = ImageLocality.pre_score(&pod, &snapshot).unwrap();
        assert_eq!(state.map(|state| [0, 1].map(|at| ImageLocality.score(&state, snapshot.node(snapshot.order()[at])))), expect, "{images:?}");
    }

    #[test]
    fn images_on_a_node_raise_its_score() {
        check(&["none:1"], None);
        check(&["small:1"], Some([0, 0]));
        check(&["big"], Some([100, 0]));
        check(&["both:1"], Some([51, 51]));
        check(&["big", "none:1"], Some([49, 0]));
    }
}
