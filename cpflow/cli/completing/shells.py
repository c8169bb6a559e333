"""The scripts of the shells, and how each hands over a line and takes names."""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar

from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
)

PROGRAM = "cpflow"

_BASH = r"""_cpflow_completion() {
    local kind value
    COMPREPLY=()
    while IFS=$'\t' read -r kind value; do
        case $kind in
        plain) COMPREPLY+=("$value") ;;
        dir) compopt -o dirnames 2>/dev/null ;;
        file) compopt -o default 2>/dev/null ;;
        esac
    done < <(COMP_LINE=${COMP_LINE:0:COMP_POINT} COMP_COMMAND=$1 COMP_WORDBREAKS=$COMP_WORDBREAKS \
        %(complete_var)s=bash_complete "${1/#\~/$HOME}" 2>/dev/null)
}
complete -o nosort -F _cpflow_completion %(prog_name)s
"""

_ZSH = r"""#compdef %(prog_name)s
_cpflow() {
    local kind value text
    local -a names shown described
    while IFS=$'\t' read -r kind value text; do
        case $kind in
        plain)
            names+=("$value")
            shown+=("$value${text:+  -- $text}")
            [[ -z $text ]] || described=(-l)
            ;;
        dir) _path_files -/ ;;
        file) _files ;;
        esac
    done < <(COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" COMP_COMMAND=$words[1] \
        %(complete_var)s=zsh_complete "${~words[1]}" 2>/dev/null)
    (( $#names )) && compadd $described -d shown -a names
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _cpflow "$@"
else
    compdef _cpflow %(prog_name)s
fi
"""

_FISH = r"""function __cpflow_completion
    set -l command (commandline -op)[1]
    set -l line (commandline -cp | string collect)
    for answer in (COMP_LINE=$line COMP_COMMAND=$command %(complete_var)s=fish_complete \
            $command 2>/dev/null)
        set -l part (string split \t -- $answer)
        switch $part[1]
            case plain
                string join \t -- $part[2..]
            case dir
                __fish_complete_directories (commandline -ct)
            case file
                __fish_complete_path (commandline -ct)
        end
    end
end
complete --command %(prog_name)s --no-files --keep-order --arguments '(__cpflow_completion)'
"""

# What a shell would take for something else than a letter of a name.
_SPECIAL = re.compile(r"([\s\"'`$&;()<>|\\!#*?\[\]{}~])")


class _Shell(ShellComplete):
    """A shell that hands over its line up to the cursor, and takes lines of kind, name, help."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is completed, and that."""
        words, self._last, self._is_quoted = last_word(os.environ.get("COMP_LINE", ""))
        name = os.environ.get("COMP_COMMAND")
        if name in words:
            words = words[words.index(name) + 1 :]
        return words, self._last

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return what may come here, whole words with the option that they belong to."""
        found = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if not (equals and option.startswith("--")):
            return found
        for item in found:
            item.value = f"{option}={item.value}"
        return found

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return the line of a name."""
        text = " ".join((item.help or "").split())
        return f"{item.type}\t{item.value}\t{text}".rstrip("\t")


class _Bash(_Shell):
    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return what replaces the part of the word that bash completes, quoted for it."""
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        cut = 1 + max(self._last.rfind(one) if one in breaks else -1 for one in "=:")
        value = item.value[cut:]
        if item.type == "plain" and not self._is_quoted:
            value = _SPECIAL.sub(r"\\\1", value)
        return f"{item.type}\t{value}"


class _Zsh(_Shell):
    name: ClassVar[str] = "zsh"
    source_template: ClassVar[str] = _ZSH


class _Fish(_Shell):
    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = _FISH


SHELLS = {one.name: one for one in (_Bash, _Zsh, _Fish)}


def register() -> None:
    """Have click know the shells."""
    for shell in SHELLS.values():
        add_completion_class(shell)


def script(shell: str, variable: str) -> str:
    """Return the script of a shell.

    Parameters
    ----------
    shell : {'bash', 'zsh', 'fish'}
    variable : str
        Environment variable by which it asks.
    """
    names = {"complete_var": variable, "prog_name": PROGRAM}
    return SHELLS[shell].source_template % names


def last_word(line: str) -> tuple[list[str], str, bool]:
    """Split a line into words as a shell does.

    Returns
    -------
    words : list of str
        Those that are complete.
    last : str
        The one that the line ends in; empty after a space.
    is_quoted : bool
        Whether a quote is open at the end.
    """
    import shlex

    # Of a word that a quote keeps open the rest is lost with the error.
    for end in ("", '"', "'"):
        try:
            words = shlex.split(f"{line}\0{end}")
        except ValueError:
            continue
        return words[:-1], words[-1].rstrip("\0"), bool(end)
    return [], "", False
