"""What may be asked of a run: the fields of a config, their rules, and the variants of one config.

Door: `fields.validate`. `variants` has the members of sweeps, `population` those of a population.
"""
