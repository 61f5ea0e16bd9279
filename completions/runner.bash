# bash completion for runner, made by `runner completion bash`
# shellcheck shell=bash

_runner_commands() {
    case "$1" in
    '') reply='init spec loop resume stop allow-starts runs show watch top log audit checkpoints diff apply export rollback record budget policy protect approvals config models prices doctor where clean completion help' ;;
    'spec') reply='check' ;;
    'audit') reply='verify export' ;;
    'budget') reply='show set unknown reconcile' ;;
    'policy') reply='check test explain decide replay diff schema show sign verify' ;;
    'approvals') reply='list show approve deny serve link' ;;
    'prices') reply='show update' ;;
    *) reply='' ;;
    esac
}

_runner_options() {
    case "$1" in
    '') reply='--version -h --help' ;;
    'init') reply='-h --help' ;;
    'spec') reply='-h --help' ;;
    'spec check') reply='-m --model --prices --json -h --help' ;;
    'loop') reply='-p --prompt -m --model --unattended --policy --sandbox --env-file --prices --worktree --in-place --new --require-verified --dry-run -h --help --max-cost --max-budget-usd --max-tokens --max-calls -n --max-iterations --max-runs --max-steps --max-duration --deadline --no-budget -q --quiet --plain --log-stderr --json' ;;
    'resume') reply='-m --model --unattended --policy --sandbox --env-file --prices -h --help --max-cost --max-budget-usd --max-tokens --max-calls -n --max-iterations --max-runs --max-steps --max-duration --deadline --no-budget -q --quiet --plain --log-stderr --json' ;;
    'stop') reply='--all --why --json -h --help' ;;
    'allow-starts') reply='-h --help' ;;
    'runs') reply='--limit --json -h --help' ;;
    'show') reply='--json -h --help' ;;
    'watch') reply='--plain -h --help' ;;
    'top') reply='--once --json -h --help' ;;
    'log') reply='-f --follow --json -h --help' ;;
    'audit') reply='-h --help' ;;
    'audit verify') reply='--against --json -h --help' ;;
    'audit export') reply='--from --to --format --out -h --help' ;;
    'checkpoints') reply='--json -h --help' ;;
    'diff') reply='--stat --json -h --help' ;;
    'apply') reply='-c --checkpoint --undo --json -h --help' ;;
    'export') reply='--force --json -h --help' ;;
    'rollback') reply='--force --json -h --help' ;;
    'record') reply='-o --output --force -h --help' ;;
    'budget') reply='-h --help' ;;
    'budget show') reply='--all --json -h --help' ;;
    'budget set') reply='--period --zone --json -h --help' ;;
    'budget unknown') reply='--json -h --help' ;;
    'budget reconcile') reply='--from --json -h --help' ;;
    'policy') reply='-h --help' ;;
    'policy check') reply='--policy --org --format -h --help' ;;
    'policy test') reply='--policy --org -h --help' ;;
    'policy explain') reply='--call --policy --org --sandboxed --json -h --help' ;;
    'policy decide') reply='--policy --org --batch --sandboxed -h --help' ;;
    'policy replay') reply='--policy --org --all --json -h --help' ;;
    'policy diff') reply='--json -h --help' ;;
    'policy schema') reply='-h --help' ;;
    'policy show') reply='--policy --org --effective --json -h --help' ;;
    'policy sign') reply='--key -h --help' ;;
    'policy verify') reply='--key -h --help' ;;
    'protect') reply='--accept --json -h --help' ;;
    'approvals') reply='-h --help' ;;
    'approvals list') reply='--all --json -h --help' ;;
    'approvals show') reply='--json -h --help' ;;
    'approvals approve') reply='--note --for-run --edit --json -h --help' ;;
    'approvals deny') reply='--note --json -h --help' ;;
    'approvals serve') reply='--listen --url --socket --webhook --slack -h --help' ;;
    'approvals link') reply='--url -h --help' ;;
    'config') reply='-m --model --unattended --policy --sandbox --env-file --prices --worktree --in-place --path --example --json -h --help --max-cost --max-budget-usd --max-tokens --max-calls -n --max-iterations --max-runs --max-steps --max-duration --deadline --no-budget' ;;
    'models') reply='-m --model --env-file --prices --all --json -h --help' ;;
    'prices') reply='-h --help' ;;
    'prices show') reply='--env-file --prices --json -h --help' ;;
    'prices update') reply='--from --lower --json -h --help' ;;
    'doctor') reply='--network --call --json -h --help' ;;
    'where') reply='--json -h --help' ;;
    'clean') reply='--older-than --all -y --yes --json -h --help' ;;
    'completion') reply='--install -h --help' ;;
    'help') reply='-h --help' ;;
    *) reply='' ;;
    esac
}

_runner_value() {
    case "$1" in
    'spec check -m' | 'spec check --model') reply='asked models;lead replay:' ;;
    'spec check --prices') reply='files *' ;;
    'loop -p' | 'loop --prompt') reply='nothing' ;;
    'loop -m' | 'loop --model') reply='asked models;lead replay:' ;;
    'loop --policy') reply='nothing' ;;
    'loop --sandbox') reply='nothing' ;;
    'loop --env-file') reply='files *' ;;
    'loop --prices') reply='files *' ;;
    'loop --max-cost' | 'loop --max-budget-usd') reply='nothing' ;;
    'loop --max-tokens') reply='nothing' ;;
    'loop --max-calls') reply='nothing' ;;
    'loop -n' | 'loop --max-iterations' | 'loop --max-runs') reply='nothing' ;;
    'loop --max-steps') reply='nothing' ;;
    'loop --max-duration') reply='nothing' ;;
    'loop --deadline') reply='nothing' ;;
    'resume -m' | 'resume --model') reply='asked models;lead replay:' ;;
    'resume --policy') reply='nothing' ;;
    'resume --sandbox') reply='nothing' ;;
    'resume --env-file') reply='files *' ;;
    'resume --prices') reply='files *' ;;
    'resume --max-cost' | 'resume --max-budget-usd') reply='nothing' ;;
    'resume --max-tokens') reply='nothing' ;;
    'resume --max-calls') reply='nothing' ;;
    'resume -n' | 'resume --max-iterations' | 'resume --max-runs') reply='nothing' ;;
    'resume --max-steps') reply='nothing' ;;
    'resume --max-duration') reply='nothing' ;;
    'resume --deadline') reply='nothing' ;;
    'stop --why') reply='nothing' ;;
    'runs --limit') reply='nothing' ;;
    'audit verify --against') reply='files *' ;;
    'audit export --from') reply='nothing' ;;
    'audit export --to') reply='nothing' ;;
    'audit export --format') reply='nothing' ;;
    'audit export --out') reply='files *' ;;
    'apply -c' | 'apply --checkpoint') reply='words best last;asked checkpoints' ;;
    'record -o' | 'record --output') reply='files *' ;;
    'budget set --period') reply='words total day week month' ;;
    'budget set --zone') reply='nothing' ;;
    'budget reconcile --from') reply='files *' ;;
    'policy check --policy') reply='nothing' ;;
    'policy check --org') reply='files *' ;;
    'policy check --format') reply='nothing' ;;
    'policy test --policy') reply='nothing' ;;
    'policy test --org') reply='files *' ;;
    'policy explain --call') reply='nothing' ;;
    'policy explain --policy') reply='nothing' ;;
    'policy explain --org') reply='files *' ;;
    'policy decide --policy') reply='nothing' ;;
    'policy decide --org') reply='files *' ;;
    'policy replay --policy') reply='nothing' ;;
    'policy replay --org') reply='files *' ;;
    'policy show --policy') reply='nothing' ;;
    'policy show --org') reply='files *' ;;
    'policy sign --key') reply='files *' ;;
    'policy verify --key') reply='files *' ;;
    'protect --accept') reply='files *' ;;
    'approvals approve --note') reply='nothing' ;;
    'approvals approve --edit') reply='nothing' ;;
    'approvals deny --note') reply='nothing' ;;
    'approvals serve --listen') reply='nothing' ;;
    'approvals serve --url') reply='nothing' ;;
    'approvals serve --socket') reply='nothing' ;;
    'approvals serve --webhook') reply='nothing' ;;
    'approvals serve --slack') reply='nothing' ;;
    'approvals link --url') reply='nothing' ;;
    'config -m' | 'config --model') reply='asked models;lead replay:' ;;
    'config --policy') reply='nothing' ;;
    'config --sandbox') reply='nothing' ;;
    'config --env-file') reply='files *' ;;
    'config --prices') reply='files *' ;;
    'config --max-cost' | 'config --max-budget-usd') reply='nothing' ;;
    'config --max-tokens') reply='nothing' ;;
    'config --max-calls') reply='nothing' ;;
    'config -n' | 'config --max-iterations' | 'config --max-runs') reply='nothing' ;;
    'config --max-steps') reply='nothing' ;;
    'config --max-duration') reply='nothing' ;;
    'config --deadline') reply='nothing' ;;
    'models -m' | 'models --model') reply='asked models;lead replay:' ;;
    'models --env-file') reply='files *' ;;
    'models --prices') reply='files *' ;;
    'prices show --env-file') reply='files *' ;;
    'prices show --prices') reply='files *' ;;
    'prices update --from') reply='files *' ;;
    'clean --older-than') reply='nothing' ;;
    *) reply='' ;;
    esac
}

_runner_argument() {
    case "$1 $2" in
    'init ''0') reply='files *.md' ;;
    'spec check ''0') reply='files *.md' ;;
    'loop ''0') reply='files *.md' ;;
    'resume ''0') reply='asked runs' ;;
    'stop ''0') reply='asked runs' ;;
    'show ''0') reply='asked runs' ;;
    'watch ''0') reply='asked runs' ;;
    'log '*) reply='words verify repair;asked runs' ;;
    'checkpoints ''0') reply='asked runs' ;;
    'diff '*) reply='words best;asked runs' ;;
    'apply ''0') reply='asked runs' ;;
    'export ''0') reply='asked runs' ;;
    'rollback ''0') reply='asked runs' ;;
    'rollback ''1') reply='words best last;asked checkpoints' ;;
    'record ''0') reply='asked runs' ;;
    'budget set ''0') reply='asked scopes' ;;
    'policy replay ''0') reply='asked runs' ;;
    'policy sign ''0') reply='files *' ;;
    'policy verify ''0') reply='files *' ;;
    'protect ''0') reply='asked runs' ;;
    'config '*) reply='words model models prices policy sandbox sandbox_user project state_dir unattended worktree tools.env secrets on_stop on_park min_output max_output budget_wait rate_wait patience idle_timeout call_timeout thinking cache service geo openai_base_url providers budget.usd budget.tokens budget.calls budget.iterations budget.steps budget.duration budget.deadline budget.idle ANTHROPIC_API_KEY AZURE_OPENAI_API_KEY CEREBRAS_API_KEY DEEPSEEK_API_KEY FIREWORKS_API_KEY GEMINI_API_KEY GOOGLE_API_KEY GROQ_API_KEY MISTRAL_API_KEY MOONSHOT_API_KEY OPENAI_API_KEY OPENROUTER_API_KEY TOGETHER_API_KEY XAI_API_KEY ZAI_API_KEY;files *.md' ;;
    'models ''0') reply='asked models' ;;
    'prices show ''0') reply='asked models;lead replay:' ;;
    'doctor '*) reply='words python packages git state database runs config prices keys network sandbox processes terminal here' ;;
    'completion ''0') reply='words bash zsh fish' ;;
    'help '*) reply='words init spec loop resume stop allow-starts runs show watch top log audit checkpoints diff apply export rollback record budget policy protect approvals config models prices doctor where clean completion help' ;;
    *) reply='' ;;
    esac
}

_runner_fill() { # what completes the word under the cursor, see the tables above
    local part rest name
    local IFS=';'
    for part in $1; do
        rest=${part#* }
        IFS=$' \t\n'
        case ${part%% *} in
        words)
            for name in $rest; do
                [[ $name == "$current"* ]] && COMPREPLY+=("$name")
            done
            ;;
        asked)
            while IFS=$'\t' read -r name _; do
                [[ $name == "$current"* ]] && COMPREPLY+=("$name")
            done < <("$program" _complete "$rest" "$first" 2>/dev/null)
            compopt -o nosort 2>/dev/null
            ;;
        files) _runner_files "$rest" '' ;;
        lead)
            if [[ $current == "$rest"* ]]; then
                _runner_files '*' "$rest"
            elif [[ $rest == "$current"* ]]; then
                COMPREPLY+=("$rest")
                compopt -o nospace 2>/dev/null
            fi
            ;;
        esac
    done
}

_runner_files() { # files that match $1, and directories; $2 stands before each
    local name
    compopt -o filenames 2>/dev/null
    while IFS= read -r name; do
        if [[ -d ${name/#\~\//$HOME/} ]]; then
            compopt -o nospace 2>/dev/null
            COMPREPLY+=("$2$name/")
        else
            # a pattern is meant
            # shellcheck disable=SC2053
            [[ $name == $1 ]] && COMPREPLY+=("$2$name")
        fi
    done < <(compgen -f -- "${current#"$2"}")
}

_runner() {
    local program=${COMP_WORDS[0]} command='' first='' expect='' reply='' lead='' glue='' only=''
    local current word i place=0
    local -a typed=()
    COMPREPLY=()
    # bash takes `replay:FILE` and `--model=NAME` apart
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $i -gt 0 && (-n $glue || $word == [:=]*) ]]; then
            typed[${#typed[@]} - 1]+=$word
        else
            typed+=("$word")
        fi
        if [[ $word == [:=] ]]; then glue=1; else glue=''; fi
    done
    for ((i = 1; i < ${#typed[@]} - 1; i++)); do
        word=${typed[i]}
        if [[ -n $expect ]]; then
            expect=''
        elif [[ -z $only && $word == -- ]]; then
            only=1
        elif [[ -z $only && $word == -* ]]; then
            [[ $word == *=* ]] && continue
            _runner_value "$command $word"
            expect=$reply
        else
            _runner_commands "$command"
            if [[ " $reply " == *" $word "* ]]; then
                command="$command${command:+ }$word"
            else
                [[ $place -eq 0 ]] && first=$word
                place=$((place + 1))
            fi
        fi
    done
    current=${typed[${#typed[@]} - 1]}
    word=${COMP_WORDS[COMP_CWORD]}
    [[ $word == [:=] ]] && word=''
    # what stands before the part bash will replace
    lead=${current%"$word"}
    if [[ -n $expect ]]; then
        _runner_fill "$expect"
    elif [[ -z $only && $current == --*=* ]]; then
        _runner_value "$command ${current%%=*}"
        local option=${current%%=*}=
        current=${current#*=}
        _runner_fill "$reply"
        COMPREPLY=("${COMPREPLY[@]/#/$option}")
    elif [[ -z $only && $current == -* ]]; then
        _runner_options "$command"
        _runner_fill "words $reply"
    else
        _runner_commands "$command"
        [[ -n $reply ]] && _runner_fill "words $reply"
        _runner_argument "$command" "$place"
        [[ -n $reply ]] && _runner_fill "$reply"
    fi
    [[ -n $lead ]] && COMPREPLY=("${COMPREPLY[@]#"$lead"}")
    return 0
}

complete -F _runner runner
