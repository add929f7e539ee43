r"""What each field of a configuration shrinks to, so that a model is tiny and its sizes tell."""

from __future__ import annotations

import re
from typing import Any

HIDDEN, FEED_FORWARD, EXPERT, SHARED_EXPERT, VOCABULARY = 32, 80, 40, 56, 101
HEADS, HEAD_WIDTH, EXPERTS, LAYERS, POSITIONS = 4, 8, 4, 3, 64

# A field whose default is None stays None; a list has each of its numbers replaced.
_SIZES = [
    (
        HIDDEN,
        """hidden_size d_model n_embd embed_dim emb_dim dim_model model_dim embedding_dim
        lru_width attention_hidden_size pooler_hidden_size output_dim projection_dim hidden_dim
        backbone_hidden_size pronunciation_embed_dim shape_embed_dim prediction_head_size dim
        d_latents qk_channels v_channels ple_embed_dim""",
    ),
    (
        FEED_FORWARD,
        """intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff dff dim_ff
        d_inner ffn_hidden_size feed_forward_size intermediate_size_mlp dense_intermediate_size
        prefix_dense_intermediate_size speech_encoder_intermediate_size t2u_encoder_ffn_dim
        t2u_decoder_ffn_dim mlp_hidden_size n_inner""",
    ),
    (EXPERT, "moe_intermediate_size expert_ffn_hidden_size"),
    (
        VOCABULARY,
        """vocab_size decoder_vocab_size src_vocab_size tgt_vocab_size char_vocab_size
        vocab_size_per_layer_input unpadded_vocab_size t2u_vocab_size unit_hifi_gan_vocab_size
        entity_vocab_size max_2d_position_embeddings ngram_vocab_size_base
        encoder_hash_byte_group_vocab pronunciation_vocab_size shape_vocab_size""",
    ),
    (
        POSITIONS,
        """max_position_embeddings n_positions n_ctx max_seq_len max_source_positions
        max_target_positions model_max_length max_encoder_position_embeddings
        max_decoder_position_embeddings t2u_max_position_embeddings position_bias_max_distance
        mamba_d_ssm context_length""",
    ),
    (
        HEADS,
        """num_attention_heads n_head n_heads num_heads attention_heads encoder_attention_heads
        decoder_attention_heads num_encoder_attention_heads num_decoder_attention_heads
        swa_num_attention_heads speech_encoder_attention_heads t2u_encoder_attention_heads
        t2u_decoder_attention_heads linear_num_heads num_self_attention_heads
        num_cross_attention_heads linear_num_value_heads heads_per_ngram split_ngram_parts""",
    ),
    (EXPERTS, "num_experts num_local_experts n_routed_experts moe_num_experts"),
    (
        HEAD_WIDTH,
        """head_dim swa_head_dim d_kv d_head dim_head attention_head_size kv_channels
        linear_head_dim mamba_d_head mamba_head_dim linear_key_head_dim linear_value_head_dim
        index_head_dim v_head_dim qk_nope_head_dim global_head_dim index_block_size
        indexer_head_dim swa_v_head_dim mamba_d_state state_size ssm_state_size mamba_chunk_size
        chunk_size mamba_n_heads mamba_num_heads relative_attention_num_buckets num_latents
        position_bias_num_buckets lsh_attn_chunk_length local_attn_chunk_length hc_lowrank
        hidden_size_per_layer_input router_hidden_size""",
    ),
    (
        LAYERS,
        """num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers
        num_encoder_layers num_decoder_layers num_blocks speech_encoder_layers t2u_encoder_layers
        t2u_decoder_layers num_layers_per_stack num_self_attends_per_block""",
    ),
    (
        16,
        """q_lora_rank kv_lora_rank o_lora_rank prompt_mid_dim adapter_rank embedding_size
        input_embedding_size word_embed_proj_dim relative_attention_max_distance
        relative_max_distance""",
    ),
    (12, "qk_head_dim"),
    (24, "output_embedding_size"),
    (32, "original_max_position_embeddings"),
    (
        4,
        """qk_rope_head_dim rotary_dim time_step_rank mamba_dt_rank laurel_rank prompt_length
        index_topk index_topk_blocks attention_window_size attention_window sliding_window
        sliding_window_size window_size local_attention attention_chunk_size keep_window_size
        local_attention_window_len indexer_budget""",
    ),
    (
        2,
        """sliding_window_pattern _sliding_window_pattern layer_group_size attn_layer_period
        global_attn_every_n_layers no_rope_layer_interval expert_layer_period
        linear_num_key_heads index_n_heads indexer_n_heads encoder_sparse_step
        decoder_sparse_step indexer_compress_ratio""",
    ),
    (1, "attn_layer_offset"),
    (64, "expert_capacity"),
]
_AT_MOST = [
    (
        2,
        """num_experts_per_tok num_experts_per_token moe_topk moe_k top_k_experts n_group
        num_expert_group mamba_n_groups n_groups""",
    ),
    (
        1,
        """topk_group first_k_dense_replace num_dense_layers moe_layer_start_index
        num_kv_shared_layers""",
    ),
    (4, "type_vocab_size segment_types prompt_types"),
    (
        SHARED_EXPERT,
        """shared_expert_intermediate_size shared_intermediate_size
        shared_experts_intermediate_size moe_shared_expert_intermediate_size""",
    ),
]
KEY_VALUE_HEADS = {"num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads"}
# Left to the model by default, which would then take a size from elsewhere.
SET_THOUGH_NONE = {"n_inner", "head_dim", "num_key_value_heads", "num_experts_per_tok"}


_PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_HYPER_CONNECTED = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 4,
    "indexer_compress_ratio": 2,
}
_LOCAL_AND_HASHED = {
    "axial_pos_embds_dim": [16, 16],
    "axial_pos_shape": [8, 8],
    "attn_layers": ["local", "lsh", "local"],
    "num_buckets": 4,
}
# Model type (or kind:type) -> fields that the rules do not get right; a dict is for a sub-config.
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "axk1": {"head_dim": 4},
    "bamba": {"attn_layer_indices": [1]},
    "blt": {
        "encoder_hash_byte_group_vocab": 50,
        "encoder_hash_byte_group_size": [3, 4],
        "encoder_config": {"hidden_size_global": 64, "num_hidden_layers": 1},
        "decoder_config": {"hidden_size_global": 64},
        "global_config": {"hidden_size": 64, "num_attention_heads": 8},
    },
    "cohere_compass_text": {"rope_parameters": {"full_attention": _PLAIN_ROPE}},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0}},
    "deepseek_v3": {"head_dim": 4},
    "distilbert": {"hidden_dim": FEED_FORWARD},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": {
        "head_dim": 12,
        "swa_num_attention_heads": HEADS,
        "swa_num_key_value_heads": HEADS,
        "swa_q_lora_rank": 16,
        "swa_kv_lora_rank": 16,
        "swa_head_dim": 12,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
    },
    "encoder-decoder": {"decoder": {"is_decoder": True, "add_cross_attention": True}},
    "esm": {"vocab_size": VOCABULARY, "pad_token_id": 1, "mask_token_id": 3},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.0],
        "intermediate_size": [FEED_FORWARD] * 4,
    },
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    "granitemoeshared": {"shared_intermediate_size": SHARED_EXPERT},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "longcat_flash": {"head_dim": 4, "zero_expert_num": 2},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "mpnet": {"relative_attention_num_buckets": 32},
    "neomme": {"head_dim": 16},
    "phi4_multimodal": {"audio_config": {"nemo_conv_channels": 32}},
    "qwen3_asr": {"audio_config": {"downsample_hidden_size": 16}},
    "qwen4_exp": {"text_config": _HYPER_CONNECTED},
    "qwen4_exp_text": _HYPER_CONNECTED,
    "causal:reformer": {"is_decoder": True, **_LOCAL_AND_HASHED},
    "masked:reformer": {"is_decoder": False, **_LOCAL_AND_HASHED},
    "perceiver": {
        "self_attention_widening_factor": 2,
        "num_blocks": 1,
        "max_position_embeddings": 7,
    },
    "squeezebert": {"embedding_size": HIDDEN},
    "xmod": {"default_language": "en_XX"},
    "youtu": {"head_dim": 4},
    "zamba": {
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid"] * 2,
        "num_hidden_layers": 6,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "num_key_value_heads": 4,
    },
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_hidden_layers": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "n_mamba_heads": 8,
        "mamba_ngroups": 1,
    },
}
# Model type -> the sub-config that the language model proper is built from.
TEXT_PART = {
    "dots3_note": ("text_config", "dots3_note_text"),
    "gemma3n": ("text_config", "gemma3n_text"),
    "musicgen": ("decoder", "musicgen_decoder"),
    "musicgen_melody": ("decoder", "musicgen_melody_decoder"),
}
CLASSES = {"musicgen": "MusicgenForCausalLM", "musicgen_melody": "MusicgenMelodyForCausalLM"}
# Decay rates and step sizes keep their signs; moving them makes state-space models explode.
UNTOUCHED = re.compile(r"A_log|dt_bias|time_decay|\.D$|a_param|recurrent|z_L_init")


def _by_field(table: list[tuple[int, str]]) -> dict[str, int]:
    return {field: size for size, fields in table for field in fields.split()}


SIZE, LIMIT = _by_field(_SIZES), _by_field(_AT_MOST)
LAYER_COUNTS = [field for field, size in SIZE.items() if size == LAYERS]
