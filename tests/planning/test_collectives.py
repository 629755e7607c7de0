"""Traffic between devices, read out of compiled programs whose traffic is known."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from addsr_jax import sharding
from addsr_jax.planning.collectives import traffic


def compiled(f, mesh, *arguments):
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, place)) for shape, place in arguments
    ]
    return jax.jit(f).lower(*shapes).compile().as_text()


def test_gathered_leaves_and_summed_gradients_are_counted_with_their_bytes():
    mesh = sharding.make_mesh('fsdp:8')

    def gradient(x, w):
        return jax.grad(lambda w: ((x @ jax.lax.with_sharding_constraint(w, NamedSharding(mesh, P()))) ** 2).sum())(w)

    text = compiled(gradient, mesh, ((16, 32), P('fsdp')), ((32, 64), P('fsdp')))
    found = traffic(text)
    assert found.bytes['all-gather'] == 32 * 64 * 4
    assert found.counts['all-gather'] == 1
    assert found.bytes['all-reduce'] == 32 * 64 * 4


def test_a_loop_s_traffic_counts_as_often_as_the_loop_runs():
    mesh = sharding.make_mesh('data:8')

    @partial(jax.shard_map, mesh=mesh, in_specs=P('data'), out_specs=P('data'))
    def loop(x):
        def body(carry, _):
            return jax.lax.ppermute(jnp.tanh(carry), 'data', [(i, (i + 1) % 8) for i in range(8)]), None

        return jax.lax.scan(body, x, None, length=5)[0]

    found = traffic(compiled(loop, mesh, ((8, 100), P('data'))))
    assert found.counts == {'collective-permute': 5}
    assert found.bytes == {'collective-permute': 5 * 100 * 4}


def test_one_device_moves_nothing():
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    assert traffic(compiled(lambda x: x @ x, mesh, ((8, 8), P()))).bytes == {}


START = """HloModule m
ENTRY %main (p: f32[4,8]) -> f32[32,8] {
  %p = f32[4,8]{1,0} parameter(0)
  %s = (f32[4,8]{1,0}, f32[32,8]{1,0}) all-gather-start(%p), dimensions={0}
  %d = f32[32,8]{1,0} all-gather-done(%s)
  %t = (bf16[6,2]{1,0}, bf16[6,2]{1,0}, u32[], u32[]) collective-permute-start(%x), source_target_pairs={{0,1}}
  %r = f32[32,8]{1,0} all-reduce-start(%d), to_apply=%add
}
"""


def test_of_an_asynchronous_start_the_result_counts_alone():
    assert traffic(START).bytes == {'all-gather': 32 * 8 * 4, 'collective-permute': 6 * 2 * 2, 'all-reduce': 32 * 8 * 4}
