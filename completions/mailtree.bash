# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for mailtree: the program itself knows what may follow.

_mailtree() {
	local line word before candidate
	local -a words
	# COMP_WORDS is split at : and =, which account names and mount options have: split at blanks instead.
	line=${COMP_LINE:0:COMP_POINT}
	read -r -a words <<<"$line"
	[[ $line != *[[:blank:]] ]] || words+=('')
	word=${words[${#words[@]} - 1]}
	# Readline replaces what stands behind the last of those.
	before=
	[[ $COMP_WORDBREAKS != *:* || $word != *:* ]] || before=${word%"${word##*:}"}
	[[ $COMP_WORDBREAKS != *=* || ${word#"$before"} != *=* ]] || before=${word%"${word##*=}"}
	COMPREPLY=()
	while IFS= read -r candidate; do
		case $candidate in
		$'\tfiles') compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
		$'\tdirectories') compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
		*)
			candidate=${candidate%%$'\t'*}
			[[ $candidate != *= ]] || compopt -o nospace 2>/dev/null
			COMPREPLY+=("${candidate#"$before"}")
			;;
		esac
	done < <("${words[0]}" completion "${words[@]:1}" 2>/dev/null)
}
complete -F _mailtree mailtree
