//! The memory engine passes the suite that every engine must.

use crate::conformance::Subject;
use crate::memory::{Fault, Memory};

impl Subject for Memory {
    type Engine = Memory;

    async fn open(&self) -> Memory {
        self.clone()
    }

    fn lose_answer(&self, landed: bool) {
        self.fail_appends([if landed { Fault::UnknownLanded } else { Fault::UnknownLost }]);
    }
}

crate::conformance_suite!(Memory::new(), model_cases: 200);
