#!/usr/bin/env bash
# Trains on a TPU slice of a Kubernetes cluster (GKE), as a JobSet: one pod for every host of the slice.
#   launch/gke.sh [--dry_run] NAME IMAGE --config configs/addsr.py --workdir DIR [train flags ...]
# Environment: ACCELERATOR (tpu-v5-lite-podslice), TOPOLOGY (4x4), CHIPS of a host (4), RESTARTS (100).
# The cluster has the JobSet API and a node pool of that slice; IMAGE is the Dockerfile's target `tpu`; DIR is a folder that
# every pod reaches, or gs://BUCKET/... A pod that ends restarts the set, and training goes on from the newest checkpoint.
set -euo pipefail

# shellcheck source=launch/common.bash
source "$(dirname "$0")/common.bash"
take_dry_run "$@"
set -- "${flags[@]}"
wrong() { echo "launch/gke.sh: $1" >&2; exit 2; }
[[ $# -ge 3 ]] || wrong 'give a name, an image and the flags of python -m addsr_jax.train'
name=$1 image=$2
shift 2

ACCELERATOR="${ACCELERATOR:-tpu-v5-lite-podslice}" TOPOLOGY="${TOPOLOGY:-4x4}" CHIPS="${CHIPS:-4}"
count='[1-9][0-9]{0,4}'
[[ "$TOPOLOGY" =~ ^$count(x$count){1,2}$ ]] || wrong "TOPOLOGY is $TOPOLOGY: write it like 4x4"
[[ "$CHIPS" =~ ^$count$ ]] || wrong "CHIPS is $CHIPS: write the number of chips of a host, like 4"
chips=$((${TOPOLOGY//x/ * }))
((CHIPS <= chips)) || CHIPS=$chips
((chips % CHIPS == 0)) || wrong "CHIPS is $CHIPS: the $chips chips of TOPOLOGY $TOPOLOGY are no whole number of such hosts"
hosts=$((chips / CHIPS))
quoted=''
for word in "$@"; do
  word="${word//\\/\\\\}"
  quoted+=", \"${word//\"/\\\"}\""
done

manifest() {
  cat <<YAML
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: "$name"
spec:
  failurePolicy:
    maxRestarts: ${RESTARTS:-100}
    rules:
      - name: mistake  # of the command: the same again would not help
        action: FailJobSet
        onJobFailureReasons: ["PodFailurePolicy"]
  replicatedJobs:
    - name: slice
      replicas: 1
      template:
        spec:
          parallelism: $hosts
          completions: $hosts
          backoffLimit: 0
          podFailurePolicy:
            rules:
              - action: FailJob
                onExitCodes: {containerName: train, operator: In, values: [2]}
          template:
            spec:
              restartPolicy: Never
              nodeSelector:
                cloud.google.com/gke-tpu-accelerator: $ACCELERATOR
                cloud.google.com/gke-tpu-topology: $TOPOLOGY
              containers:
                - name: train
                  image: "$image"
                  command: ["python", "-m", "addsr_jax.train", "--distributed"$quoted]
                  resources:
                    limits:
                      google.com/tpu: $CHIPS
YAML
}

if [[ -n "$dry" ]]; then manifest; else manifest | kubectl apply -f -; fi
