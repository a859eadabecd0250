# bash completion for liege: commands and options come from `liege help`, so they never drift.
_liege()
{
    local words cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(liege help | sed -n 's/^  \([a-z]*\) .*/\1/p')" -- "$cur")
        return
    fi
    case $prev in
    help) mapfile -t COMPREPLY < <(compgen -W "run host version" -- "$cur"); return ;;
    --accel) mapfile -t COMPREPLY < <(compgen -W "auto kvm soft" -- "$cur"); return ;;
    --cpu) mapfile -t COMPREPLY < <(compgen -W "default x86-64-v2 x86-64-v3 host" -- "$cur"); return ;;
    --console|--serial) mapfile -t COMPREPLY < <(compgen -W "stdio pty none file=" -- "$cur"); return ;;
    --console-device) mapfile -t COMPREPLY < <(compgen -W "serial virtio" -- "$cur"); return ;;
    --net) mapfile -t COMPREPLY < <(compgen -W "user tap=" -- "$cur"); return ;;
    --kernel|--initrd|--disk|--config|--symbols) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    esac
    words=$(liege help "${COMP_WORDS[1]}" 2>/dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p')
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o filenames -F _liege liege
