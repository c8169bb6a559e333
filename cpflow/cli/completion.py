"""``cpflow completion``."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that lets a shell complete commands, options and names at TAB.

    Graphs, instruments and cluster profiles are completed, and of the repository that is named by
    -b or REPO, collections, dataset types and filters. To have it in every shell, run one line:

    \b
    echo 'eval "$(cpflow completion bash)"' >> ~/.bashrc
    echo 'eval "$(cpflow completion zsh)"' >> ~/.zshrc            # after compinit
    cpflow completion fish > ~/.config/fish/completions/cpflow.fish
    """
    from cpflow.cli.completing import VARIABLE
    from cpflow.cli.completing.shells import script

    click.echo(script(shell, VARIABLE), nl=False)
