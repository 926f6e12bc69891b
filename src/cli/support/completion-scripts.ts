/**
 * The completion script of each shell. The scripts know nothing about cdktr's commands: on each Tab they call the program being
 * typed with the words so far. It answers with a line that names the kind of completion (`:words`, `:files`, `:directories`),
 * followed by one line per candidate, `value TAB about`.
 */

/** The supported shells. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

const BASH = `# bash completion for cdktr. For every new shell: put 'source <(cdktr completion bash)' into ~/.bashrc
_cdktr() {
  local program=\${COMP_WORDS[0]/#\\~/$HOME} current=\${COMP_WORDS[COMP_CWORD]} line
  local -a lines
  mapfile -t lines < <("$program" completion bash -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  # Of --option=VALUE bash makes three words.
  [[ $current == = ]] && current=
  COMPREPLY=()
  case "\${lines[0]-}" in
    :files) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    :directories) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    :words)
      # In the order in which they come: runs are newest first.
      compopt -o nosort 2>/dev/null
      for line in "\${lines[@]:1}"; do COMPREPLY+=("\${line%%$'\\t'*}"); done ;;
  esac
}
complete -F _cdktr cdktr
`;

const ZSH = `#compdef cdktr
# zsh completion for cdktr. For every new shell: put 'source <(cdktr completion zsh)' into ~/.zshrc,
# or write it to a file named _cdktr in a directory of $fpath.
_cdktr() {
  local -a lines candidates
  local line
  lines=("\${(@f)$("\${(Q)words[1]/#\\~/$HOME}" completion zsh -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  [[ "$lines[1]" != :words && "$words[CURRENT]" == --*=* ]] && compset -P '--*='
  case "$lines[1]" in
    :files) _files ;;
    :directories) _files -/ ;;
    :words)
      for line in "\${(@)lines[2,-1]}"; do
        candidates+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
      done
      _describe -V cdktr candidates ;;
  esac
}
if [[ "$funcstack[1]" == _cdktr ]]; then
  _cdktr "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
  compdef _cdktr cdktr
fi
`;

const FISH = `# fish completion for cdktr. For every new shell: cdktr completion fish > ~/.config/fish/completions/cdktr.fish
function __cdktr_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (command $words[1] completion fish -- $words[2..-1] "$current" 2>/dev/null)
    set -l flag (string match -r '^--[^=]*=' -- "$current")
    set -l path (string replace -r '^--[^=]*=' '' -- "$current")
    switch "$lines[1]"
        case :files
            printf "$flag%s\\n" (__fish_complete_path "$path")
        case :directories
            printf "$flag%s\\n" (__fish_complete_directories "$path")
        case :words
            test (count $lines) -gt 1; and printf '%s\\n' $lines[2..-1]
    end
end
complete -c cdktr -f -k -a '(__cdktr_complete)'
`;

/** The script of a shell. */
export const COMPLETION_SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };

/**
 * Joins the words of a line as the command line counts them: bash splits words at each "=" and ":".
 * @param words the last one is incomplete
 * @returns the words, and how much of the last one the shell does not replace
 */
export function joinedWords(shell: Shell, words: readonly string[]): { words: string[]; kept: number } {
  if (shell !== "bash") return { words: [...words], kept: 0 };
  const joined: string[] = [];
  let glue = false;
  for (const word of words) {
    const isBreak = word === "=" || word === ":";
    const last = joined.at(-1);
    if (last !== undefined && (isBreak ? /^--|^-P|[:=]/.test(last) || word === ":" : glue)) {
      joined[joined.length - 1] = last + word;
    } else joined.push(word);
    glue = isBreak;
  }
  const typed = words.at(-1) ?? "";
  const whole = joined.at(-1) ?? "";
  return { words: joined, kept: whole.length - (typed === "=" || typed === ":" ? 0 : typed.length) };
}
