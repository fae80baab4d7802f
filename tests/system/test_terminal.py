"""The transcript: what is printed, for a reader who comes later too."""

from mnist_jax.system.terminal import Terminal, TextTable, follow_transcript, start_transcript, tell, warn


def test_a_follower_gets_earlier_and_later_lines_without_escape_sequences(capsys):
    tell("of the run before")
    start_transcript()
    tell("first")
    table = TextTable("scores")
    table.add_column("metric")
    table.add_row("accuracy \x1b[1m")
    Terminal().print(table)
    lines: list[str] = []
    follow_transcript(lines.append)
    warn("a warning")
    tell("last")
    shown = capsys.readouterr()
    assert lines[0] == "first"
    assert "accuracy \\x1b[1m" in "\n".join(lines)
    assert lines[-2:] == ["a warning", "last"]
    assert [line for line in lines if line != "a warning"] == shown.out.splitlines()[1:]
    start_transcript()
    tell("of the run after")
    assert lines[-1] == "last"
