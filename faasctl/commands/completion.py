"""`faasctl completion`: the few lines by which a shell asks faasctl itself what may come next."""

import click

from faasctl.commands._common import command as make_command
from faasctl.completion import SHELLS
from faasctl.output import Screen

EXAMPLES = """
eval "$(faasctl completion bash)"    (in ~/.bashrc)
faasctl completion fish > ~/.config/fish/completions/faasctl.fish
"""
BASH = r"""_faasctl() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("${line%%$'\t'*}")
    done < <(faasctl __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _faasctl faasctl
"""
ZSH = r"""#compdef faasctl
_faasctl() {
    local -a found
    local line
    while IFS= read -r line; do
        found+=("${${line//:/\\:}/$'\t'/:}")
    done < <(faasctl __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#found} )); then
        _describe faasctl found
    else
        _files
    fi
}
compdef _faasctl faasctl
"""
FISH = r"""function __faasctl_complete
    set -l typed (commandline -opc) (commandline -ct)
    set -l found (faasctl __complete $typed[2..] 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c faasctl -f -a '(__faasctl_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@make_command("completion", EXAMPLES, help="Print the completion script of a shell: commands, options and names.")
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
@click.pass_obj
def command(screen: Screen, shell: str) -> None:
    screen.data(SCRIPTS[shell].rstrip("\n"))
