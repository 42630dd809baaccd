//! The higher priority first; among equals, who has waited longer.

use crate::framework::QueueSort;
use crate::pod_info::PodInfo;
use std::cmp::Reverse;
use tokio::time::Instant;

pub struct PrioritySort;

impl QueueSort for PrioritySort {
    type Key = (Reverse<i32>, Instant);

    fn key(&self, pod: &PodInfo, since: Instant) -> Self::Key {
        (Reverse(pod.priority), since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::info;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn priority_goes_before_time() {
        let start = tokio::time::Instant::now();
        let (low, high) = (info(json!({"priority": -5})), info(json!({"priority": 10})));
        let later = start + Duration::from_secs(1);
        assert!(PrioritySort.key(&high, later) < PrioritySort.key(&low, start));
        assert!(PrioritySort.key(&low, start) < PrioritySort.key(&low, later));
        assert!(PrioritySort.key(&info(json!({})), start) < PrioritySort.key(&low, start));
    }
}
