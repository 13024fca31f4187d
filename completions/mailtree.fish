# SPDX-License-Identifier: GPL-2.0-or-later
# fish completion for mailtree: the program itself knows what may follow.

function __mailtree_candidates
    set -l words (commandline -opc) (commandline -ct)
    set -l word $words[-1]
    set -l candidates (command $words[1] completion $words[2..-1] 2>/dev/null)
    switch "$candidates[1]"
        case \tfiles
            __fish_complete_path "$word"
        case \tdirectories
            __fish_complete_directories "$word"
        case '*'
            string join -- \n $candidates
    end
end
complete -c mailtree -f -a '(__mailtree_candidates)'
