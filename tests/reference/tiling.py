"""Make the golden of diffusers' tiled decoding, on the VAE of the `base` model."""

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

import weights

# (tile, overlap) in latents
TILES = [(8, 2), (12, 4), (16, 8)]


@torch.no_grad()
def tiled_decode(root):
    vae = AutoencoderKL.from_pretrained(f"{root}/base/model/vae", torch_dtype=torch.float32).eval()
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    height, width = 26, 20
    channels = vae.config.latent_channels
    latents = torch.from_numpy(weights.levels(weights.fnv1a64("tiled_decode"), channels * height * width) / 32.0)
    latents = latents.reshape(1, channels, height, width).float()
    out = {"latents": latents}
    z = latents / vae.config.scaling_factor + vae.config.shift_factor
    out["whole"] = vae.decode(z).sample
    vae.enable_tiling()
    for tile, overlap in TILES:
        vae.tile_latent_min_size, vae.tile_sample_min_size = tile, tile * scale
        vae.tile_overlap_factor = overlap / tile
        assert int(tile * (1 - vae.tile_overlap_factor)) == tile - overlap
        assert int(tile * scale * vae.tile_overlap_factor) == overlap * scale
        out[f"tile_{tile * scale}_overlap_{overlap * scale}"] = vae.decode(z).sample
    save_file(out, f"{root}/tiled_decode.safetensors")
