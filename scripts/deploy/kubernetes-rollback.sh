#!/bin/sh
# Takes a version out of a cluster again: what runs it goes back to what it ran before, API and gateway first, then the workers.
# The schema stays, because an older process runs beside a newer one.
# sh scripts/deploy/kubernetes-rollback.sh NAMESPACE IMAGE
set -eu
usage="usage: sh scripts/deploy/kubernetes-rollback.sh NAMESPACE IMAGE"
namespace="${1:?$usage}"
image="${2:?$usage}"
columns='{range .items[*]}{.metadata.name}{" "}{.spec.template.spec.initContainers[*].image}{" "}{.spec.template.spec.containers[*].image}{"\n"}{end}'

# A worker that is older than an API can fail tasks that it does not understand, so it goes back last.
for selector in 'app.kubernetes.io/component in (api, gateway)' 'app.kubernetes.io/component=worker'; do
  running=$(kubectl --namespace "$namespace" get deployment --selector "$selector" --output jsonpath="$columns")
  # Where the version did not get to, the one before it is running, and one before that would be too far back.
  back=$(echo "$running" | while read -r name images; do case " $images " in *" $image "*) echo "$name" ;; esac; done)
  for name in $back; do kubectl --namespace "$namespace" rollout undo "deployment/$name"; done
  for name in $back; do kubectl --namespace "$namespace" rollout status "deployment/$name" --timeout 15m; done
done
