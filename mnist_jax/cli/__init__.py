"""`mnist-jax COMMAND`: one module per command, with its flags and its output.

Door: `commands.main`. A command is a module with a docstring, which is its help, `add_flags(parser)` and
`run(options)`. `commands` finds it, `parsing` reads flags, `config_flag` reads `--config` and its fields, and
`exits` turns errors into one line and an exit status.
"""
