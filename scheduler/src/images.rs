//! Which images lie on which nodes, and how large they are.

use crate::node_info::NodeIndex;
use k8s_openapi::api::core::v1::ContainerImage;
use std::collections::HashMap;

/// Images by name. A name that no node has any more is forgotten.
#[derive(Debug, Default)]
pub struct Images {
    by_name: HashMap<Box<str>, ImageState>,
}

#[derive(Debug)]
pub struct ImageState {
    /// As the first node that had it said.
    pub bytes: i64,
    nodes: NodeSet,
}

impl ImageState {
    pub fn is_on(&self, node: NodeIndex) -> bool {
        self.nodes.contains(node)
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len
    }
}

impl Images {
    pub fn get(&self, name: &str) -> Option<&ImageState> {
        self.by_name.get(name)
    }

    pub(crate) fn add(&mut self, node: NodeIndex, images: &[ContainerImage]) {
        for image in images {
            for name in image.names.iter().flatten() {
                match self.by_name.get_mut(name.as_str()) {
                    Some(state) => state.nodes.insert(node),
                    None => {
                        let mut state = ImageState { bytes: image.size_bytes.unwrap_or_default(), nodes: NodeSet::default() };
                        state.nodes.insert(node);
                        self.by_name.insert(name.as_str().into(), state);
                    }
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, node: NodeIndex, images: &[ContainerImage]) {
        for name in images.iter().flat_map(|image| image.names.iter().flatten()) {
            if let Some(state) = self.by_name.get_mut(name.as_str()) {
                state.nodes.remove(node);
                if state.nodes.len == 0 {
                    self.by_name.remove(name.as_str());
                }
            }
        }
    }
}

/// A set of nodes as bits.
#[derive(Debug, Default)]
struct NodeSet {
    words: Vec<u64>,
    len: usize,
}

impl NodeSet {
    fn contains(&self, node: NodeIndex) -> bool {
        let (word, bit) = Self::place(node);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    fn insert(&mut self, node: NodeIndex) {
        let (word, bit) = Self::place(node);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.len += usize::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
    }

    fn remove(&mut self, node: NodeIndex) {
        let (word, bit) = Self::place(node);
        if let Some(word) = self.words.get_mut(word) {
            self.len -= usize::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    fn place(node: NodeIndex) -> (usize, u64) {
        (node.position() / 64, 1 << (node.position() % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_while_a_node_has_it() {
        let image = |name: &str, bytes| ContainerImage { names: Some(vec![name.into()]), size_bytes: Some(bytes) };
        let mut images = Images::default();
        images.add(NodeIndex(70), &[image("a:1", 5)]);
        images.add(NodeIndex(3), &[image("a:1", 9), image("b:1", 7)]);
        let state = images.get("a:1").unwrap();
        assert_eq!((state.bytes, state.nodes()), (5, 2));
        assert!(state.is_on(NodeIndex(3)) && state.is_on(NodeIndex(70)) && !state.is_on(NodeIndex(4)));
        images.remove(NodeIndex(3), &[image("a:1", 9), image("b:1", 7)]);
        assert!(images.get("b:1").is_none());
        assert_eq!(images.get("a:1").unwrap().nodes(), 1);
    }
}
