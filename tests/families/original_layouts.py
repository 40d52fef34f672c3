"""Names of tensors as families' makers release them, of diffusers' names: what people have on disk, made of tiny folders.

A rename is a pattern and what it becomes; a join is several tensors, by their ends, that a release holds as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

QKV = ("to_q", "to_k", "to_v")
ADDED = ("add_q_proj", "add_k_proj", "add_v_proj")


@dataclass(frozen=True)
class Layout:
    """One family's release."""

    renames: Sequence[tuple[str, str]]
    joins: Sequence[tuple[str, Sequence[str], str]] = ()
    """(the beginning of their names, their ends, the joint name)."""
    beside: Sequence[str] = ()
    """Tensors of the release that diffusers' class has not."""
    swapped: Sequence[str] = ()
    """Those of which the release holds the halves the other way round."""

    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A denoiser's tensors under the names of its release."""
        left, found = dict(tensors), dict[str, Tensor]()
        for name in list(left):
            for beginning, ends, joint in self.joins:
                match = re.fullmatch(rf"({beginning}){re.escape(ends[0])}\.(weight|bias)", name)
                if match:
                    parts = [left.pop(f"{match[1]}{end}.{match[2]}") for end in ends]
                    found[f"{match[1]}{joint}.{match[2]}"] = torch.cat(parts)
        found |= left
        for name in self.swapped:
            both = [full for full in (f"{name}.weight", f"{name}.bias") if full in found]
            found |= {full: torch.cat([*reversed(found[full].chunk(2))]) for full in both}
        more = {name: torch.zeros(2) for name in self.beside}
        return {self._renamed(name): tensor for name, tensor in found.items()} | more

    def _renamed(self, name: str) -> str:
        for pattern, to in self.renames:
            name = re.sub(pattern, to, name)
        return name


LAYOUTS: Mapping[str, Layout] = {
    "ltx": Layout(
        (
            (r"^proj_in\.", "patchify_proj."),
            (r"^time_embed\.", "adaln_single."),
            (r"\.norm_([qk])\.", r".\1_norm."),
        )
    ),
    "cosmos2": Layout(
        (
            (r"^transformer_blocks\.", "net.blocks."),
            (r"^time_embed\.t_embedder\.", "net.t_embedder.1."),
            (r"^time_embed\.norm\.", "net.t_embedding_norm."),
            (r"^patch_embed\.proj\.", "net.x_embedder.proj.1."),
            (r"^norm_out\.linear_(\d)\.", r"net.final_layer.adaln_modulation.\1."),
            (r"^proj_out\.", "net.final_layer.linear."),
            (r"\.norm1\.linear_(\d)\.", r".adaln_modulation_self_attn.\1."),
            (r"\.norm2\.linear_(\d)\.", r".adaln_modulation_cross_attn.\1."),
            (r"\.norm3\.linear_(\d)\.", r".adaln_modulation_mlp.\1."),
            (r"\.attn1\.", ".self_attn."),
            (r"\.attn2\.", ".cross_attn."),
            (r"\.to_([qkv])\.", r".\1_proj."),
            (r"\.to_out\.0\.", ".output_proj."),
            (r"\.norm_([qk])\.", r".\1_norm."),
            (r"\.ff\.net\.0\.proj\.", ".mlp.layer1."),
            (r"\.ff\.net\.2\.", ".mlp.layer2."),
        )
    ),
    "sd3": Layout(
        (
            (r"^pos_embed\.pos_embed$", "pos_embed"),
            (r"^pos_embed\.proj\.", "x_embedder.proj."),
            (r"^time_text_embed\.timestep_embedder\.linear_1\.", "t_embedder.mlp.0."),
            (r"^time_text_embed\.timestep_embedder\.linear_2\.", "t_embedder.mlp.2."),
            (r"^time_text_embed\.text_embedder\.linear_1\.", "y_embedder.mlp.0."),
            (r"^time_text_embed\.text_embedder\.linear_2\.", "y_embedder.mlp.2."),
            (r"^proj_out\.", "final_layer.linear."),
            (r"^norm_out\.linear\.", "final_layer.adaLN_modulation.1."),
            (r"^transformer_blocks\.", "joint_blocks."),
            (r"\.attn\.(x|context)_qkv\.", r".\1_block.attn.qkv."),
            (r"\.attn2\.x_qkv\.", ".x_block.attn2.qkv."),
            (r"\.attn\.norm_([qk])\.", r".x_block.attn.ln_\1."),
            (r"\.attn2\.norm_([qk])\.", r".x_block.attn2.ln_\1."),
            (r"\.attn\.norm_added_([qk])\.", r".context_block.attn.ln_\1."),
            (r"\.attn(2?)\.to_out\.0\.", r".x_block.attn\1.proj."),
            (r"\.attn\.to_add_out\.", ".context_block.attn.proj."),
            (r"\.norm1\.linear\.", ".x_block.adaLN_modulation.1."),
            (r"\.norm1_context\.linear\.", ".context_block.adaLN_modulation.1."),
            (r"\.ff\.net\.0\.proj\.", ".x_block.mlp.fc1."),
            (r"\.ff\.net\.2\.", ".x_block.mlp.fc2."),
            (r"\.ff_context\.net\.0\.proj\.", ".context_block.mlp.fc1."),
            (r"\.ff_context\.net\.2\.", ".context_block.mlp.fc2."),
        ),
        joins=((r".*\.attn2?\.", QKV, "x_qkv"), (r".*\.attn\.", ADDED, "context_qkv")),
        swapped=("norm_out.linear", "transformer_blocks.1.norm1_context.linear"),
    ),
    "flux": Layout(
        (
            (r"^time_text_embed\.timestep_embedder\.", "time_in."),
            (r"^time_text_embed\.text_embedder\.", "vector_in."),
            (r"^time_text_embed\.guidance_embedder\.", "guidance_in."),
            (r"^(time|vector|guidance)_in\.linear_1\.", r"\1_in.in_layer."),
            (r"^(time|vector|guidance)_in\.linear_2\.", r"\1_in.out_layer."),
            (r"^context_embedder\.", "txt_in."),
            (r"^x_embedder\.", "img_in."),
            (r"^proj_out\.", "final_layer.linear."),
            (r"^norm_out\.linear\.", "final_layer.adaLN_modulation.1."),
            (r"^single_transformer_blocks\.(\d+)\.attn\.joined\.", r"single_blocks.\1.linear1."),
            (r"^single_transformer_blocks\.(\d+)\.norm\.linear\.", r"single_blocks.\1.modulation.lin."),
            (r"^single_transformer_blocks\.(\d+)\.proj_out\.", r"single_blocks.\1.linear2."),
            (r"^single_transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"single_blocks.\1.norm.query_norm.scale"),
            (r"^single_transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"single_blocks.\1.norm.key_norm.scale"),
            (r"^transformer_blocks\.", "double_blocks."),
            (r"\.norm1\.linear\.", ".img_mod.lin."),
            (r"\.norm1_context\.linear\.", ".txt_mod.lin."),
            (r"\.attn\.img_qkv\.", ".img_attn.qkv."),
            (r"\.attn\.txt_qkv\.", ".txt_attn.qkv."),
            (r"\.attn\.norm_q\.weight", ".img_attn.norm.query_norm.scale"),
            (r"\.attn\.norm_k\.weight", ".img_attn.norm.key_norm.scale"),
            (r"\.attn\.norm_added_q\.weight", ".txt_attn.norm.query_norm.scale"),
            (r"\.attn\.norm_added_k\.weight", ".txt_attn.norm.key_norm.scale"),
            (r"\.attn\.to_out\.0\.", ".img_attn.proj."),
            (r"\.attn\.to_add_out\.", ".txt_attn.proj."),
            (r"\.ff\.net\.(0\.proj|2)\.", r".img_mlp.\1."),
            (r"\.ff_context\.net\.(0\.proj|2)\.", r".txt_mlp.\1."),
            (r"_mlp\.0\.proj\.", "_mlp.0."),
        ),
        joins=(
            (r"single_transformer_blocks\.\d+\.", ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), "attn.joined"),
            (r"transformer_blocks\.\d+\.attn\.", QKV, "img_qkv"),
            (r"transformer_blocks\.\d+\.attn\.", ADDED, "txt_qkv"),
        ),
        swapped=("norm_out.linear",),
    ),
    "hunyuanvideo": Layout(
        (
            (r"^x_embedder\.", "img_in."),
            (r"^time_text_embed\.timestep_embedder\.linear_1\.", "time_in.mlp.0."),
            (r"^time_text_embed\.timestep_embedder\.linear_2\.", "time_in.mlp.2."),
            (r"^time_text_embed\.guidance_embedder\.linear_1\.", "guidance_in.mlp.0."),
            (r"^time_text_embed\.guidance_embedder\.linear_2\.", "guidance_in.mlp.2."),
            (r"^time_text_embed\.text_embedder\.linear_1\.", "vector_in.in_layer."),
            (r"^time_text_embed\.text_embedder\.linear_2\.", "vector_in.out_layer."),
            (r"^context_embedder\.", "txt_in."),
            (r"^txt_in\.proj_in\.", "txt_in.input_embedder."),
            (r"^txt_in\.time_text_embed\.timestep_embedder\.linear_1\.", "txt_in.t_embedder.mlp.0."),
            (r"^txt_in\.time_text_embed\.timestep_embedder\.linear_2\.", "txt_in.t_embedder.mlp.2."),
            (r"^txt_in\.time_text_embed\.text_embedder\.", "txt_in.c_embedder."),
            (r"^txt_in\.token_refiner\.refiner_blocks\.", "txt_in.individual_token_refiner.blocks."),
            (r"^(txt_in.*)\.attn\.refined\.", r"\1.self_attn_qkv."),
            (r"^(txt_in.*)\.attn\.to_out\.0\.", r"\1.self_attn_proj."),
            (r"^(txt_in.*)\.norm_out\.linear\.", r"\1.adaLN_modulation.1."),
            (r"^(txt_in.*)\.ff\.net\.", r"\1.mlp.net."),
            (r"^norm_out\.linear\.", "final_layer.adaLN_modulation.1."),
            (r"^proj_out\.", "final_layer.linear."),
            (r"^single_transformer_blocks\.", "single_blocks."),
            (r"^(single_blocks\.\d+)\.attn\.joined\.", r"\1.linear1."),
            (r"^(single_blocks\.\d+)\.proj_out\.", r"\1.linear2."),
            (r"^(single_blocks\.\d+)\.attn\.norm_([qk])\.", r"\1.\2_norm."),
            (r"^(single_blocks\.\d+)\.norm\.linear\.", r"\1.modulation.linear."),
            (r"^transformer_blocks\.", "double_blocks."),
            (r"\.attn\.(img|txt)_qkv\.", r".\1_attn_qkv."),
            (r"\.attn\.norm_([qk])\.", r".img_attn_\1_norm."),
            (r"\.attn\.norm_added_([qk])\.", r".txt_attn_\1_norm."),
            (r"\.attn\.to_out\.0\.", ".img_attn_proj."),
            (r"\.attn\.to_add_out\.", ".txt_attn_proj."),
            (r"\.norm1\.linear\.", ".img_mod.linear."),
            (r"\.norm1_context\.linear\.", ".txt_mod.linear."),
            (r"\.ff\.net\.", ".img_mlp.net."),
            (r"\.ff_context\.net\.", ".txt_mlp.net."),
            (r"mlp\.net\.0\.proj\.", "mlp.fc1."),
            (r"mlp\.net\.2\.", "mlp.fc2."),
        ),
        joins=(
            (r"context_embedder\.token_refiner\.refiner_blocks\.\d+\.attn\.", QKV, "refined"),
            (r"single_transformer_blocks\.\d+\.", ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), "attn.joined"),
            (r"transformer_blocks\.\d+\.attn\.", QKV, "img_qkv"),
            (r"transformer_blocks\.\d+\.attn\.", ADDED, "txt_qkv"),
        ),
        swapped=("norm_out.linear",),
    ),
    "flux2": Layout(
        (
            (r"^time_guidance_embed\.timestep_embedder\.linear_1\.", "time_in.in_layer."),
            (r"^time_guidance_embed\.timestep_embedder\.linear_2\.", "time_in.out_layer."),
            (r"^context_embedder\.", "txt_in."),
            (r"^x_embedder\.", "img_in."),
            (r"^proj_out\.", "final_layer.linear."),
            (r"^norm_out\.linear\.", "final_layer.adaLN_modulation.1."),
            (r"_stream_modulation(_img|_txt|)\.linear\.", r"_stream_modulation\1.lin."),
            (r"^single_transformer_blocks\.(\d+)\.attn\.to_qkv_mlp_proj\.", r"single_blocks.\1.linear1."),
            (r"^single_transformer_blocks\.(\d+)\.attn\.to_out\.", r"single_blocks.\1.linear2."),
            (r"^single_transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"single_blocks.\1.norm.query_norm.scale"),
            (r"^single_transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"single_blocks.\1.norm.key_norm.scale"),
            (r"^transformer_blocks\.", "double_blocks."),
            (r"\.attn\.(img|txt)_qkv\.", r".\1_attn.qkv."),
            (r"\.attn\.norm_q\.weight", ".img_attn.norm.query_norm.scale"),
            (r"\.attn\.norm_k\.weight", ".img_attn.norm.key_norm.scale"),
            (r"\.attn\.norm_added_q\.weight", ".txt_attn.norm.query_norm.scale"),
            (r"\.attn\.norm_added_k\.weight", ".txt_attn.norm.key_norm.scale"),
            (r"\.attn\.to_out\.0\.", ".img_attn.proj."),
            (r"\.attn\.to_add_out\.", ".txt_attn.proj."),
            (r"\.ff\.linear_in\.", ".img_mlp.0."),
            (r"\.ff\.linear_out\.", ".img_mlp.2."),
            (r"\.ff_context\.linear_in\.", ".txt_mlp.0."),
            (r"\.ff_context\.linear_out\.", ".txt_mlp.2."),
        ),
        joins=(
            (r"transformer_blocks\.\d+\.attn\.", QKV, "img_qkv"),
            (r"transformer_blocks\.\d+\.attn\.", ADDED, "txt_qkv"),
        ),
        swapped=("norm_out.linear",),
    ),
    "sana": Layout(
        (
            (r"^patch_embed\.proj\.", "x_embedder.proj."),
            (r"^time_embed\.emb\.timestep_embedder\.linear_1\.", "t_embedder.mlp.0."),
            (r"^time_embed\.emb\.timestep_embedder\.linear_2\.", "t_embedder.mlp.2."),
            (r"^time_embed\.linear\.", "t_block.1."),
            (r"^caption_projection\.linear_(\d)\.", r"y_embedder.y_proj.fc\1."),
            (r"^caption_norm\.", "attention_y_norm."),
            (r"^proj_out\.", "final_layer.linear."),
            (r"^scale_shift_table$", "final_layer.scale_shift_table"),
            (r"^transformer_blocks\.", "blocks."),
            (r"\.attn1\.to_out\.0\.", ".attn.proj."),
            (r"\.attn2\.to_out\.0\.", ".cross_attn.proj."),
            (r"\.attn1\.norm_([qk])\.", r".attn.\1_norm."),
            (r"\.attn2\.norm_([qk])\.", r".cross_attn.\1_norm."),
            (r"\.attn1\.qkv\.", ".attn.qkv."),
            (r"\.attn2\.to_q\.", ".cross_attn.q_linear."),
            (r"\.attn2\.kv\.", ".cross_attn.kv_linear."),
            (r"\.ff\.conv_inverted\.", ".mlp.inverted_conv.conv."),
            (r"\.ff\.conv_depth\.", ".mlp.depth_conv.conv."),
            (r"\.ff\.conv_point\.", ".mlp.point_conv.conv."),
        ),
        joins=((r".*\.attn1\.", QKV, "qkv"), (r".*\.attn2\.", QKV[1:], "kv")),
        beside=("pos_embed", "y_embedder.y_embedding"),
    ),
    "qwenimage": Layout(()),
}
"""Of families whose releases diffusers converts; HunyuanVideo's and FLUX's at their published width alone. Qwen-Image's are its names."""
