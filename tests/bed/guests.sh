#!/bin/bash
# guests.sh RUNNER GUEST...: the small guests on the nested bed's KVM. Left out is what QEMU's emulated SVM does not
# do, whatever runs on it, and what vmx.sh has run under Bochs:
#   limits     it checks no segment limits
#   strict     it lets reserved bits pass
#   hwbreak    it does not look at debug registers that KVM loads
#   softbreak  an INT3 never reaches the intercept of #BP
set -euo pipefail
here=$(dirname "$(realpath "$0")")
runner=$1
shift
guests=()
for g in "$@"; do
    case $(basename "$g" .bin) in
    limits | strict | hwbreak | softbreak) ;;
    *) guests+=("$g") ;;
    esac
done
exec "$here/run.sh" "$runner" "${guests[@]}" -- 'runner --accel kvm --native *.bin'
