//! The tour of stock kubectl: what people do with a cluster, each command's output looked at. One cluster serves all of it.

mod access;
mod objects;
mod workloads;

use e2e::{Kubectl, Lab};
use libtest_mimic::{Arguments, Failed, Trial};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

type Test = fn(&Kubectl);

const TESTS: &[(&str, Test)] = &[
    ("a_deployment_is_rolled_out_and_its_pods_are_watched", workloads::rollout),
    ("logs_are_followed_and_commands_run_in_containers", workloads::logs_and_exec),
    ("a_deployment_is_scaled_updated_and_undone", workloads::update_and_undo),
    ("a_deleted_pod_is_replaced", workloads::replaced),
    ("delete_cascades_to_the_foreground_or_orphans", workloads::cascade),
    ("objects_are_applied_compared_and_edited", objects::apply_diff_edit),
    ("patches_of_all_three_types_apply", objects::patches),
    ("server_side_apply_tells_conflicts", objects::server_side_apply),
    ("objects_are_labelled_and_annotated", objects::label_and_annotate),
    ("objects_are_printed_in_every_form", objects::outputs),
    ("nodes_are_cordoned_and_tainted", workloads::cordon_and_taint),
    ("describe_and_events_tell_what_happened", workloads::describe_and_events),
    ("the_api_describes_itself", access::discovery),
    ("who_may_do_what_is_answered", access::auth),
    ("a_service_account_token_works", access::tokens),
    ("bad_requests_are_refused_as_by_kubernetes", access::refusals),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // They share a node, and some of them take it out of service.
    arguments.test_threads = Some(1);
    let lab: Arc<OnceLock<Lab>> = Arc::default();
    let trials = TESTS.iter().enumerate().map(|(number, (name, test))| {
        let lab = lab.clone();
        Trial::test(*name, move || run(lab.get_or_init(Lab::up), number, *test))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if conclusion.has_failed()
        && let Some(lab) = lab.get()
    {
        eprintln!("{}", lab.logs());
    }
    drop(lab);
    conclusion.exit();
}

/// Each in a namespace of its own.
fn run(lab: &Lab, number: usize, test: Test) -> Result<(), Failed> {
    let namespace = format!("tour-{number}");
    let done = catch_unwind(AssertUnwindSafe(|| {
        lab.kubectl("default").run(&["create", "namespace", &namespace]);
        let kubectl = lab.kubectl(&namespace);
        test(&kubectl);
        kubectl.run(&["delete", "namespace", &namespace, "--wait=false"]);
    }));
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Failed::from(text.unwrap_or("panicked"))
    })
}
