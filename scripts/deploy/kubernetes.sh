#!/bin/sh
# Brings a version into a cluster: migrations, then workers, then API and gateway, each once the one before it is well.
# sh scripts/deploy/kubernetes.sh OVERLAY IMAGE, such as: staging registry.example.com/sutazai@sha256:0123…
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
overlay="${1:-}"
image="${2:-}"
if [ -z "$overlay" ] || [ ! -f "$root/deploy/kubernetes/overlays/$overlay/kustomization.yaml" ]; then
  echo "usage: sh scripts/deploy/kubernetes.sh OVERLAY IMAGE; overlays: $(ls "$root/deploy/kubernetes/overlays" | tr '\n' ' ')" >&2
  exit 1
fi
case "$image" in
*@sha256:*) version="digest: ${image#*@}" name="${image%%@*}" ;;
*)
  tag="${image##*:}"
  case "$tag" in
  # Without a colon, or with that of a port alone.
  "$image" | */*) echo "IMAGE wants a digest or a tag, such as registry.example.com/sutazai:0.1.0" >&2 && exit 1 ;;
  esac
  version="newTag: \"$tag\"" name="${image%:*}"
  ;;
esac

# Beside the overlays, because kustomize takes relative paths alone.
release=$(mktemp -d "$root/deploy/kubernetes/release-XXXXXX")
trap 'rm -rf "$release"' EXIT
trap 'exit 1' INT TERM
cat >"$release/kustomization.yaml" <<EOF
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../overlays/$overlay]
images: [{ name: sutazai, newName: $name, $version }]
EOF
kubectl kustomize "$release" >"$release/all.yaml"
namespace=$(sed -n 's/^  namespace: //p' "$release/all.yaml" | head -n 1)

apply() { kubectl apply --filename "$release/all.yaml" --selector "$1"; }
wait_for() { kubectl --namespace "$namespace" rollout status deployment --selector "$1" --timeout 15m; }

# Whether the migrations ended well; `kubectl wait` waits for one condition alone, and a Job that failed never has the other.
migrated() {
  tries=360
  while [ "$tries" -gt 0 ]; do
    ended=$(kubectl --namespace "$namespace" get job migrate --output jsonpath='{.status.conditions[?(@.status=="True")].type}') || ended=
    case " $ended " in
    *" Complete "*) return 0 ;;
    *" Failed "*) return 1 ;;
    esac
    tries=$((tries - 1))
    sleep 5
  done
  return 1
}

apply 'app.kubernetes.io/component in (settings, store)'
# A Job cannot be changed.
kubectl --namespace "$namespace" delete job migrate --ignore-not-found --wait
apply 'app.kubernetes.io/component=migrate'
if ! migrated; then
  kubectl --namespace "$namespace" logs job/migrate --tail 50 >&2 || true
  echo "The migrations did not end well, so nothing else was changed." >&2
  exit 1
fi
# A worker that is older than an API can fail tasks that it does not understand.
apply 'app.kubernetes.io/component=worker'
wait_for 'app.kubernetes.io/component=worker'
kubectl apply --filename "$release/all.yaml"
wait_for 'app.kubernetes.io/component in (api, gateway)'
