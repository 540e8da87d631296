//! Checks that a step allocates as much as the step before it, and keeps nothing. This test is
//! alone in its process, because it counts all of the process's allocations.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::alloc::System;

use burn_flex::{Flex, FlexDevice};
use ovis_image::{GenerationRequest, LoadOptions, OvisImagePipeline};
use ovis_image_tests::golden::golden_folder;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn every_step_allocates_the_same_and_keeps_nothing() {
    let folder = golden_folder().join("base/model");
    let pipeline =
        OvisImagePipeline::<Flex>::from_pretrained(folder, LoadOptions::new(), &FlexDevice)
            .unwrap();
    let request = GenerationRequest::new("a cat")
        .with_size(64, 64)
        .with_num_inference_steps(12)
        .with_guidance_scale(4.0);
    let mut denoiser = pipeline.denoiser(&request).unwrap();

    let mut steps = Vec::with_capacity(12);
    loop {
        let region = Region::new(ALLOCATOR);
        let step = denoiser.next();
        let ended = step.is_none();
        drop(step);
        let change = region.change();
        if ended {
            break;
        }
        let allocated = change.bytes_allocated as i64;
        steps.push((allocated, allocated - change.bytes_deallocated as i64));
    }
    assert_eq!(steps.len(), 12);
    // The first two steps fill caches: the modulation of all steps, and the thread pool's own.
    let (usual, _) = steps[2];
    for (index, (allocated, kept)) in steps.into_iter().enumerate().skip(2) {
        // The division of a product among threads varies, and with it their scratch space.
        assert!(
            (allocated - usual).abs() <= usual / 4,
            "step {index} allocated {allocated} bytes, step 2 {usual}"
        );
        // The pool's queues grow by blocks occasionally: far below the smallest tensor's 32 KiB.
        assert!(kept <= 16 << 10, "step {index} kept {kept} bytes");
    }
}
