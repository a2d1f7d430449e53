"""No setting outside the config changes a number, and no setting of the caller's is changed."""

import concurrent.futures
import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spiral_vae import numerics
from spiral_vae.training import train
from tests.lanes import make_lane

# What JAX lets a caller set, as another program may have set it.
FOREIGN = {
    "jax_enable_x64": True,
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_default_matmul_precision": "bfloat16",
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_softmax_custom_jvp": True,
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_transfer_guard": "disallow",
    "jax_disable_jit": True,
    "jax_debug_key_reuse": True,
}
# The settings of JAX 0.10 and 0.12 that are neither pinned nor required, because they say where,
# how fast and with what messages something is computed.
HARMLESS = """
backend_target bcoo_cusparse_lowering captured_constants check_proxy_envs check_static_indices
check_tracer_leaks compilation_cache compiler_detailed cpu_ cross_host cuda_visible_devices
debug_leaked debug_log default_device disable_bwd_checks disable_vmap_shmap disallow_mesh
distributed_ dump_ embedded_constants enable_checks enable_compilation_cache enable_custom_prng
enable_preemption enable_recoverability experimental_unsafe_xla_runtime explain explicit_x64 export_
force_dcn high_dynamic_range_gumbel hlo_source include_ legacy_prng_key log_ logging_level mock_
mosaic_ mtls_ mutable_array_checks num_cpu_devices oneapi_visible_devices pallas_
persistent_cache_ pgle_ pjrt_client platform_name platforms pprint_use_color ragged_dot_
raise_on_ppermute raise_persistent refs_to_pins remat_barrier remove_ rocm_visible_devices
send_traceback serialization_version share_binary sort_devices source_url thread_guard
traceback_ tracer_error transfer_guard_ use_cpp_shard_args use_emit_pipeline use_magma use_rgv3
use_shardy xla_backend xla_profile
""".split()
OTHERS = ("check_vma", "jax2tf_", "jax_auto_pcast", "mock_num_gpu_processes")


def test_every_setting_of_jax_is_judged():
    """One that a new version brings may change numbers, and has to be looked at."""
    known = {"jax_enable_x64", *numerics.PINNED, *numerics.REQUIRED}
    harmless = (*OTHERS, *(f"jax_{name}" for name in HARMLESS))
    unknown = [
        name for name in jax.config.values if name not in known and not name.startswith(harmless)
    ]
    assert unknown == []


def test_what_must_have_its_default_has_it():
    assert numerics.problems() == []


@contextlib.contextmanager
def foreign():
    with contextlib.ExitStack() as stack:
        for name, value in FOREIGN.items():
            stack.enter_context(getattr(jax, name.removeprefix("jax_"))(value))
        stack.enter_context(np.errstate(all="raise"))
        yield


@pytest.mark.parametrize("threads", [False, True])
def test_data_and_parameters_are_those_of_plain_settings(threads):
    def made():
        with numerics.single():
            return jax.device_get(jax.jit(train.init)(make_lane(seed=3)))

    (_, data), found = made(), jnp.ones(1)
    with foreign():
        if threads:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                _, again = pool.submit(made).result()
        else:
            _, again = made()
    jax.tree.map(np.testing.assert_array_equal, data, again)
    assert found.dtype == jnp.ones(1).dtype == np.float32


@pytest.mark.parametrize("pin", [numerics.single, numerics.double])
def test_the_caller_s_settings_come_back(pin):
    with foreign():
        before = {name: getattr(jax.config, name, None) for name in FOREIGN}
        errors = np.geterr()
        with pytest.raises(KeyError), pin():
            assert jax.config.jax_enable_x64 == (pin is numerics.double)
            assert not jax.config.jax_debug_nans
            raise KeyError
        assert before == {name: getattr(jax.config, name, None) for name in FOREIGN}
        assert np.geterr() == errors


@pytest.fixture
def restored():
    before = {name: jax.config.values[name] for name in ("jax_random_seed_offset",)}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_a_setting_that_can_not_be_pinned_is_told(restored):
    jax.config.update("jax_random_seed_offset", 3)
    assert numerics.problems() == [
        "jax_random_seed_offset: found 3, must be 0 here; it may change numbers"
    ]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--xla_force_host_platform_device_count=3 --xla_dump_to=/tmp", None),
        ("--xla_dump_to=/tmp --xla_cpu_enable_fast_math=true", "--xla_cpu_enable_fast_math=true"),
    ],
)
def test_flags_of_the_compiler_are_told_if_they_may_matter(monkeypatch, flags, told):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert numerics.variables() == ({"XLA_FLAGS": told} if told else {})
    assert numerics.settings().get("XLA_FLAGS") == told
