# fish completion for runner, made by `runner completion fish`

set -g __runner_commands 'init' 'spec' 'spec check' 'loop' 'resume' 'stop' 'runs' 'show' 'watch' 'top' 'log' 'checkpoints' 'diff' 'apply' 'export' 'rollback' 'record' 'budget' 'budget show' 'budget set' 'protect' 'config' 'models' 'doctor' 'where' 'clean' 'completion' 'help'
set -g __runner_valued 'spec check -m' 'spec check --model' 'spec check --prices' 'loop -p' 'loop --prompt' 'loop -m' 'loop --model' 'loop --env-file' 'loop --prices' 'loop --max-cost' 'loop --max-budget-usd' 'loop --max-tokens' 'loop --max-calls' 'loop -n' 'loop --max-iterations' 'loop --max-runs' 'loop --max-steps' 'loop --max-duration' 'loop --deadline' 'resume -m' 'resume --model' 'resume --env-file' 'resume --prices' 'resume --max-cost' 'resume --max-budget-usd' 'resume --max-tokens' 'resume --max-calls' 'resume -n' 'resume --max-iterations' 'resume --max-runs' 'resume --max-steps' 'resume --max-duration' 'resume --deadline' 'runs --limit' 'apply -c' 'apply --checkpoint' 'record -o' 'record --output' 'budget set --period' 'budget set --zone' 'protect --accept' 'config -m' 'config --model' 'config --env-file' 'config --prices' 'config --max-cost' 'config --max-budget-usd' 'config --max-tokens' 'config --max-calls' 'config -n' 'config --max-iterations' 'config --max-runs' 'config --max-steps' 'config --max-duration' 'config --deadline' 'models -m' 'models --model' 'models --env-file' 'models --prices' 'clean --older-than'

function __runner_words
    # the command that is being typed, then its arguments so far
    set -l words (commandline -opc)
    set -e words[1]
    set -l at
    set -l found
    set -l skip 0
    for word in $words
        if test $skip = 1
            set skip 0
        else if string match -qr -- '^-.*=' $word
            continue
        else if string match -q -- '-*' $word
            contains -- "$at $word" $__runner_valued; and set skip 1
        else if test (count $found) = 0; and contains -- (string trim -- "$at $word") $__runner_commands
            set at (string trim -- "$at $word")
        else
            set -a found $word
        end
    end
    echo $at
    set -q found[1]; and printf '%s\n' $found
end

function __runner_at --argument-names command place
    set -l words (__runner_words)
    test "$words[1]" = "$command"; or return 1
    test -z "$place"; or test $place = (math (count $words) - 1)
end

function __runner_asked --argument-names kind
    set -l program (string replace -r '^~/' "$HOME/" -- (commandline -opc)[1])
    type -q $program; and $program _complete $kind (__runner_words)[2] 2>/dev/null
end

function __runner_lead --argument-names lead
    set -l current (commandline -ct | string replace -r '^--[a-z-]+=' '')
    if string match -q -- "$lead*" $current
        __fish_complete_path (string replace -- $lead '' $current) | string replace -r '^' $lead
    else
        echo $lead
    end
end

complete -c runner -f
complete -c runner -n '__runner_at \'\' 0' -k -a 'help' -d 'Show the help of a command, as its --help does.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'completion' -d 'Print or install the completion of a shell.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'clean' -d 'Remove old ended runs, or everything; list first, and ask.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'where' -d 'List everything runner owns on this machine, with sizes.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'doctor' -d 'Look over this machine: what works, and how to mend the rest.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'models' -d 'List the models that have a price, and which one would be used.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'config' -d 'Show every setting: its value, and who says so.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'protect' -d 'List a run\'s protected files, or accept a change of one.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'budget' -d 'Show and set the caps that several runs share.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'record' -d 'Write a recording of a run, to play it again at no cost.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'rollback' -d 'Set a run\'s workspace back to a checkpoint, byte by byte.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'export' -d 'Write a run\'s checkpoints as a branch of your repository.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'apply' -d 'Bring what a run did in its own copy into your directory.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'diff' -d 'Show what changed between two checkpoints of a run.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'checkpoints' -d 'List a run\'s checkpoints: when, why, what changed.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'log' -d 'Print every step of a run, or check that its log is whole.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'top' -d 'Show all runs that go on or could go on, in one live table.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'watch' -d 'Watch a run that another process drives.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'show' -d 'Show one run whole: limits, money, checks, what is next.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'runs' -d 'List what ran: how it stands, what it reached and cost.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'stop' -d 'Stop a run, or all; then no request reaches a provider.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'resume' -d 'Go on with a run, with other limits if you like.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'loop' -d 'Run the agent on a spec until its checks say it is done.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'spec' -d 'Say what is understood of a spec, and what it may cost.'
complete -c runner -n '__runner_at \'\' 0' -k -a 'init' -d 'Write a commented spec to begin with.'
complete -c runner -n '__runner_at \'\'' -l version -d 'Show the version.'
complete -c runner -n '__runner_at \'\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'init\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'init\' 0' -x -k -a '(__fish_complete_suffix .md)'
complete -c runner -n '__runner_at \'spec\' 0' -k -a 'check' -d 'Say what is understood of a spec, and what it may cost.'
complete -c runner -n '__runner_at \'spec\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'spec check\'' -s m -l model -x -k -a '(__runner_asked models) (__runner_lead replay:)' -d 'Price it for this model.'
complete -c runner -n '__runner_at \'spec check\'' -l prices -r -F -d 'More prices, TOML (also RUNNER_PRICES).'
complete -c runner -n '__runner_at \'spec check\'' -l json -d 'Print everything understood as JSON.'
complete -c runner -n '__runner_at \'spec check\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'spec check\' 0' -x -k -a '(__fish_complete_suffix .md)'
complete -c runner -n '__runner_at \'loop\'' -s p -l prompt -x -d 'A one-line spec.'
complete -c runner -n '__runner_at \'loop\'' -s m -l model -x -k -a '(__runner_asked models) (__runner_lead replay:)' -d 'openai/NAME, or replay:FILE for a recording.'
complete -c runner -n '__runner_at \'loop\'' -l unattended -d 'Never ask; work in a copy (--in-place: here).'
complete -c runner -n '__runner_at \'loop\'' -l env-file -r -F -d 'A file of variables to trust wholly.'
complete -c runner -n '__runner_at \'loop\'' -l prices -r -F -d 'More prices, TOML (also RUNNER_PRICES).'
complete -c runner -n '__runner_at \'loop\'' -l worktree -d 'Work in an own copy.'
complete -c runner -n '__runner_at \'loop\'' -l in-place -d 'Work in an own copy.'
complete -c runner -n '__runner_at \'loop\'' -l new -d 'Abandon the open run of this spec and start one.'
complete -c runner -n '__runner_at \'loop\'' -l require-verified -d 'Refuse a spec without checks (exit 2).'
complete -c runner -n '__runner_at \'loop\'' -l dry-run -d 'Say what would be done; send nothing.'
complete -c runner -n '__runner_at \'loop\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'loop\'' -l max-cost -l max-budget-usd -x -d 'Cap in US dollars.'
complete -c runner -n '__runner_at \'loop\'' -l max-tokens -x -d 'Cap in tokens, input and output.'
complete -c runner -n '__runner_at \'loop\'' -l max-calls -x -d 'Cap in model calls.'
complete -c runner -n '__runner_at \'loop\'' -s n -l max-iterations -l max-runs -x -d 'Cap in iterations.'
complete -c runner -n '__runner_at \'loop\'' -l max-steps -x -d 'Steps that end an iteration.'
complete -c runner -n '__runner_at \'loop\'' -l max-duration -x -d 'Active time, e.g. 1h30m.'
complete -c runner -n '__runner_at \'loop\'' -l deadline -x -d 'Wall time, e.g. 07:00.'
complete -c runner -n '__runner_at \'loop\'' -l no-budget -d 'Lift the built-in and the spec\'s money cap.'
complete -c runner -n '__runner_at \'loop\'' -s q -l quiet -d 'Only warnings and the end.'
complete -c runner -n '__runner_at \'loop\'' -l plain -d 'Lines instead of the live view (also RUNNER_PLAIN=1).'
complete -c runner -n '__runner_at \'loop\'' -l log-stderr -d 'Write each line of the log to standard error too.'
complete -c runner -n '__runner_at \'loop\'' -l json -d 'Print the run as JSON at the end, nothing else.'
complete -c runner -n '__runner_at \'loop\' 0' -x -k -a '(__fish_complete_suffix .md)'
complete -c runner -n '__runner_at \'resume\'' -s m -l model -x -k -a '(__runner_asked models) (__runner_lead replay:)' -d 'openai/NAME, or replay:FILE for a recording.'
complete -c runner -n '__runner_at \'resume\'' -l unattended -d 'Never ask; work in a copy (--in-place: here).'
complete -c runner -n '__runner_at \'resume\'' -l env-file -r -F -d 'A file of variables to trust wholly.'
complete -c runner -n '__runner_at \'resume\'' -l prices -r -F -d 'More prices, TOML (also RUNNER_PRICES).'
complete -c runner -n '__runner_at \'resume\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'resume\'' -l max-cost -l max-budget-usd -x -d 'Cap in US dollars.'
complete -c runner -n '__runner_at \'resume\'' -l max-tokens -x -d 'Cap in tokens, input and output.'
complete -c runner -n '__runner_at \'resume\'' -l max-calls -x -d 'Cap in model calls.'
complete -c runner -n '__runner_at \'resume\'' -s n -l max-iterations -l max-runs -x -d 'Cap in iterations.'
complete -c runner -n '__runner_at \'resume\'' -l max-steps -x -d 'Steps that end an iteration.'
complete -c runner -n '__runner_at \'resume\'' -l max-duration -x -d 'Active time, e.g. 1h30m.'
complete -c runner -n '__runner_at \'resume\'' -l deadline -x -d 'Wall time, e.g. 07:00.'
complete -c runner -n '__runner_at \'resume\'' -l no-budget -d 'Lift the built-in and the spec\'s money cap.'
complete -c runner -n '__runner_at \'resume\'' -s q -l quiet -d 'Only warnings and the end.'
complete -c runner -n '__runner_at \'resume\'' -l plain -d 'Lines instead of the live view (also RUNNER_PLAIN=1).'
complete -c runner -n '__runner_at \'resume\'' -l log-stderr -d 'Write each line of the log to standard error too.'
complete -c runner -n '__runner_at \'resume\'' -l json -d 'Print the run as JSON at the end, nothing else.'
complete -c runner -n '__runner_at \'resume\' 0' -x -k -a '(__runner_asked runs)'
complete -c runner -n '__runner_at \'stop\'' -l all -d 'Stop every run of this state directory.'
complete -c runner -n '__runner_at \'stop\'' -l json -d 'Print how each run came to stand, as JSON.'
complete -c runner -n '__runner_at \'stop\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'stop\' 0' -x -k -a '(__runner_asked runs)'
complete -c runner -n '__runner_at \'runs\'' -l limit -x -d 'Only the newest N. [x>=1]'
complete -c runner -n '__runner_at \'runs\'' -l json -d 'A JSON list, see the reference\'s page json.'
complete -c runner -n '__runner_at \'runs\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'show\'' -l json -d 'A JSON object, see the reference\'s page json.'
complete -c runner -n '__runner_at \'show\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'show\' 0' -x -k -a '(__runner_asked runs)'
complete -c runner -n '__runner_at \'watch\'' -l plain -d 'Lines instead of the live view (also RUNNER_PLAIN=1).'
complete -c runner -n '__runner_at \'watch\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'watch\' 0' -x -k -a '(__runner_asked runs)'
complete -c runner -n '__runner_at \'top\'' -l once -d 'Print the table once; so it is without a terminal.'
complete -c runner -n '__runner_at \'top\'' -l json -d 'A JSON list, see the reference\'s page json.'
complete -c runner -n '__runner_at \'top\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'log\'' -s f -l follow -d 'Go on until the run stands still.'
complete -c runner -n '__runner_at \'log\'' -l json -d 'The stored JSON lines; of verify, its result.'
complete -c runner -n '__runner_at \'log\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'log\'' -x -k -a 'verify repair (__runner_asked runs)'
complete -c runner -n '__runner_at \'checkpoints\'' -l json -d 'A JSON list, see the reference\'s page json.'
complete -c runner -n '__runner_at \'checkpoints\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'checkpoints\' 0' -x -k -a '(__runner_asked runs)'
complete -c runner -n '__runner_at \'diff\'' -l stat -d 'Only how much changed in each file.'
complete -c runner -n '__runner_at \'diff\'' -l json -d 'Only the changed paths, as a JSON object.'
complete -c runner -n '__runner_at \'diff\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'diff\'' -x -k -a 'best (__runner_asked runs)'
complete -c runner -n '__runner_at \'apply\'' -s c -l checkpoint -x -k -a 'best last (__runner_asked checkpoints)' -d 'A number, or `best`. [default: last]'
complete -c runner -n '__runner_at \'apply\'' -l undo -d 'Take the newest apply back.'
complete -c runner -n '__runner_at \'apply\'' -l json -d 'Print what was done as JSON.'
complete -c runner -n '__runner_at \'apply\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'apply\' 0' -x -k -a '(__runner_asked runs)'
complete -c runner -n '__runner_at \'export\'' -l force -d 'Replace the branch when it exists.'
complete -c runner -n '__runner_at \'export\'' -l json -d 'Print the branch as JSON.'
complete -c runner -n '__runner_at \'export\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'export\' 0' -x -k -a '(__runner_asked runs)'
complete -c runner -n '__runner_at \'rollback\'' -l force -d 'Also over changes somebody else made; kept first.'
complete -c runner -n '__runner_at \'rollback\'' -l json -d 'Print what was done as JSON.'
complete -c runner -n '__runner_at \'rollback\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'rollback\' 0' -x -k -a '(__runner_asked runs)'
complete -c runner -n '__runner_at \'rollback\' 1' -x -k -a 'best last (__runner_asked checkpoints)'
complete -c runner -n '__runner_at \'record\'' -s o -l output -r -F -d 'Where to write it; else standard output.'
complete -c runner -n '__runner_at \'record\'' -l force -d 'Replace FILE when it is there.'
complete -c runner -n '__runner_at \'record\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'record\' 0' -x -k -a '(__runner_asked runs)'
complete -c runner -n '__runner_at \'budget\' 0' -k -a 'set' -d 'Set what all runs of a project, user or model may spend.'
complete -c runner -n '__runner_at \'budget\' 0' -k -a 'show' -d 'Show what is spent, unknown, held and left of every budget.'
complete -c runner -n '__runner_at \'budget\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'budget show\'' -l all -d 'Also what is counted for single runs and specs.'
complete -c runner -n '__runner_at \'budget show\'' -l json -d 'Print as JSON, money in nano-USD.'
complete -c runner -n '__runner_at \'budget show\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'budget set\'' -l period -x -k -a 'total day week month' -d 'total, day, week or month. [default: total]'
complete -c runner -n '__runner_at \'budget set\'' -l zone -x -d 'Where days begin, e.g. Europe/Berlin. Default: UTC.'
complete -c runner -n '__runner_at \'budget set\'' -l json -d 'Print as JSON, money in nano-USD.'
complete -c runner -n '__runner_at \'budget set\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'budget set\' 0' -x -k -a '(__runner_asked scopes)'
complete -c runner -n '__runner_at \'protect\'' -l accept -r -F -d 'Accept this file as it is now.'
complete -c runner -n '__runner_at \'protect\'' -l json -d 'Print as JSON.'
complete -c runner -n '__runner_at \'protect\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'protect\' 0' -x -k -a '(__runner_asked runs)'
complete -c runner -n '__runner_at \'config\'' -s m -l model -x -k -a '(__runner_asked models) (__runner_lead replay:)' -d 'openai/NAME, or replay:FILE for a recording.'
complete -c runner -n '__runner_at \'config\'' -l unattended -d 'Never ask; work in a copy (--in-place: here).'
complete -c runner -n '__runner_at \'config\'' -l env-file -r -F -d 'A file of variables to trust wholly.'
complete -c runner -n '__runner_at \'config\'' -l prices -r -F -d 'More prices, TOML (also RUNNER_PRICES).'
complete -c runner -n '__runner_at \'config\'' -l worktree -d 'Work in an own copy.'
complete -c runner -n '__runner_at \'config\'' -l in-place -d 'Work in an own copy.'
complete -c runner -n '__runner_at \'config\'' -l path -d 'Print where your configuration file is, or would be.'
complete -c runner -n '__runner_at \'config\'' -l example -d 'Print a configuration file with every key.'
complete -c runner -n '__runner_at \'config\'' -l json -d 'A JSON object, see the reference\'s page json.'
complete -c runner -n '__runner_at \'config\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'config\'' -l max-cost -l max-budget-usd -x -d 'Cap in US dollars.'
complete -c runner -n '__runner_at \'config\'' -l max-tokens -x -d 'Cap in tokens, input and output.'
complete -c runner -n '__runner_at \'config\'' -l max-calls -x -d 'Cap in model calls.'
complete -c runner -n '__runner_at \'config\'' -s n -l max-iterations -l max-runs -x -d 'Cap in iterations.'
complete -c runner -n '__runner_at \'config\'' -l max-steps -x -d 'Steps that end an iteration.'
complete -c runner -n '__runner_at \'config\'' -l max-duration -x -d 'Active time, e.g. 1h30m.'
complete -c runner -n '__runner_at \'config\'' -l deadline -x -d 'Wall time, e.g. 07:00.'
complete -c runner -n '__runner_at \'config\'' -l no-budget -d 'Lift the built-in and the spec\'s money cap.'
complete -c runner -n '__runner_at \'config\'' -x -k -a 'model prices project state_dir unattended worktree tools.env secrets on_stop on_park min_output max_output budget_wait openai_base_url budget.usd budget.tokens budget.calls budget.iterations budget.steps budget.duration budget.deadline budget.idle ANTHROPIC_API_KEY AZURE_OPENAI_API_KEY DEEPSEEK_API_KEY FIREWORKS_API_KEY GEMINI_API_KEY GOOGLE_API_KEY GROQ_API_KEY MISTRAL_API_KEY MOONSHOT_API_KEY OPENAI_API_KEY OPENROUTER_API_KEY TOGETHER_API_KEY XAI_API_KEY ZAI_API_KEY (__fish_complete_suffix .md)'
complete -c runner -n '__runner_at \'models\'' -s m -l model -x -k -a '(__runner_asked models) (__runner_lead replay:)' -d 'openai/NAME, or replay:FILE for a recording.'
complete -c runner -n '__runner_at \'models\'' -l env-file -r -F -d 'A file of variables to trust wholly.'
complete -c runner -n '__runner_at \'models\'' -l prices -r -F -d 'More prices, TOML (also RUNNER_PRICES).'
complete -c runner -n '__runner_at \'models\'' -l json -d 'A JSON object, see the reference\'s page json.'
complete -c runner -n '__runner_at \'models\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'models\' 0' -x -k -a '(__runner_asked models)'
complete -c runner -n '__runner_at \'doctor\'' -l network -d 'Try a connection to the provider, too.'
complete -c runner -n '__runner_at \'doctor\'' -l json -d 'A JSON object, see the reference\'s page json.'
complete -c runner -n '__runner_at \'doctor\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'doctor\'' -x -k -a 'python packages git state database runs config prices keys network sandbox processes terminal here'
complete -c runner -n '__runner_at \'where\'' -l json -d 'A JSON object, see the reference\'s page json.'
complete -c runner -n '__runner_at \'where\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'clean\'' -l older-than -x -d 'Age of a run\'s last event. [default: 30d]'
complete -c runner -n '__runner_at \'clean\'' -l all -d 'Remove all of it, open runs and sums included.'
complete -c runner -n '__runner_at \'clean\'' -s y -l yes -d 'Do it without asking.'
complete -c runner -n '__runner_at \'clean\'' -l json -d 'A JSON object, see the reference\'s page json.'
complete -c runner -n '__runner_at \'clean\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'completion\'' -l install -d 'Write it where that shell looks for it.'
complete -c runner -n '__runner_at \'completion\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'completion\' 0' -x -k -a 'bash zsh fish'
complete -c runner -n '__runner_at \'help\'' -s h -l help -d 'Show this page.'
complete -c runner -n '__runner_at \'help\'' -x -k -a 'init spec loop resume stop runs show watch top log checkpoints diff apply export rollback record budget protect config models doctor where clean completion help'
