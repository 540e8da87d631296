//! Tests of decoding in tiles, against diffusers' `AutoencoderKL.tiled_decode`.

use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use ovis_image::error::{MemoryError, RequestError};
use ovis_image::vae::VaeTiling;
use ovis_image::{LoadOptions, OvisImageError, OvisImagePipeline, WeightDtype};
use ovis_image_tests::compare::relative_error;
use ovis_image_tests::golden::{Golden, golden_folder};
use ovis_image_tests::tolerance::tolerance;

use crate::support::{base_model, pipeline, request, values};

fn golden() -> Golden {
    Golden::open(&golden_folder().join("tiled_decode.safetensors"))
}

fn latents(golden: &Golden) -> Tensor<Flex, 4> {
    let data = TensorData::new(golden.values("latents"), [1, 4, 26, 20]);
    Tensor::from_data(data, (&FlexDevice, DType::F32))
}

#[test]
fn tiles_are_cut_and_blended_as_diffusers_does() {
    let golden = golden();
    let allowed = tolerance("flex", WeightDtype::F32).stage;
    for (tile, overlap) in [(16, 4), (24, 8), (32, 16)] {
        let tiling = VaeTiling::new(tile).with_overlap(overlap);
        let decoded = pipeline().vae().decode_tiled(latents(&golden), tiling);
        let name = format!("tile_{tile}_overlap_{overlap}");
        let error = relative_error(&values(decoded), &golden.values(&name));
        assert!(error < allowed, "{name}: {error:.1e}");
    }
}

#[test]
fn a_tile_that_holds_the_image_gives_the_whole_decode() {
    let golden = golden();
    let vae = pipeline().vae().clone();
    let whole = values(vae.decode(latents(&golden)));
    let tiled = values(vae.decode_tiled(latents(&golden), VaeTiling::new(64)));
    assert_eq!(whole, tiled);
    let error = relative_error(&whole, &golden.values("whole"));
    assert!(
        error < tolerance("flex", WeightDtype::F32).stage,
        "{error:.1e}"
    );
}

#[test]
fn a_request_in_tiles_differs_from_the_whole_one_in_its_decode_alone() {
    let request = request().with_size(48, 32);
    let whole = pipeline().generate(&request).unwrap();
    let tiled = pipeline()
        .generate(&request.with_vae_tiling(VaeTiling::new(16)))
        .unwrap();
    assert_eq!(values(whole.latents), values(tiled.latents));
    assert_eq!(tiled.image_tensor.dims(), [1, 3, 32, 48]);
    assert!(
        tiled.settings.parameters.vae_tiling.is_some()
            && whole.settings.parameters.vae_tiling.is_none()
    );
    assert_ne!(values(whole.image_tensor), values(tiled.image_tensor));
}

#[test]
fn tiles_that_the_vae_cannot_have_are_refused_before_the_work() {
    for (tiling, reason) in [
        (VaeTiling::new(8), "the least is 16"),
        (VaeTiling::new(32).with_overlap(32), "must be less"),
        (VaeTiling::new(33), "multiples of 2"),
        (VaeTiling::new(32).with_overlap(3), "multiples of 2"),
    ] {
        let error = pipeline()
            .generate(&request().with_vae_tiling(tiling))
            .unwrap_err();
        assert!(
            matches!(&error, OvisImageError::Request(RequestError::InvalidArgument { argument, reason: text, .. })
                if *argument == "vae_tiling" && text.contains(reason)),
            "{error}"
        );
    }
}

#[test]
fn an_image_that_fits_only_in_tiles_is_refused_whole_with_that_way_out() {
    // The limit lies between the transformer's 35 MiB for 512x512 and the decoder's 48.
    let options = LoadOptions::new().with_memory_limit(40 << 20);
    let limited =
        OvisImagePipeline::<Flex>::from_pretrained(base_model(), options, &FlexDevice).unwrap();
    let request = request().with_size(512, 512);
    let error = limited.denoiser(&request).map(|_| ()).unwrap_err();
    assert!(
        matches!(
            error,
            OvisImageError::Memory(MemoryError::TooLargeForMemory { .. })
        ),
        "{error}"
    );
    assert!(error.to_string().contains("tiles"), "{error}");
    limited
        .denoiser(&request.with_vae_tiling(VaeTiling::new(256)))
        .unwrap();
}
