import gc

from mnist_jax.system.imports import without_collection


def test_the_collector_pauses_and_then_leaves_alone_what_was_made():
    before = gc.get_freeze_count()
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    gc.unfreeze()
