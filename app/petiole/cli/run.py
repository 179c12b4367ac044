"""``petiole run``: its verbs and their order in the help."""

from __future__ import annotations

import typer

from petiole.cli import answering, carrying, explaining, forking, logs, looking, pruning, steering, streaming
from petiole.cli.variadic import VariadicCommand

app = typer.Typer(
    no_args_is_help=True,
    help="Submit runs, look at them, steer them. A verb with a THREAD means the thread's newest run.",
)
app.command(
    "start",
    epilog="Example: petiole run start shop.order --input '{\"id\": 7}' --idempotency-key order-7 --wait",
)(steering.start)
app.command("list", epilog="Example: petiole run list --status failed --since 2h -o jsonl")(looking.list_)
app.command("get")(looking.get)
app.command("explain")(explaining.explain)
app.command(
    "watch", cls=VariadicCommand, epilog="Example: petiole run watch order-7 --graphs shop.flows:order"
)(looking.watch)
app.command("stream", epilog="Example: petiole run stream order-7 --mode updates --mode custom --json")(
    streaming.stream
)
app.command("logs", epilog="Example: petiole run logs order-7 --node charge --level WARNING --follow")(
    logs.logs
)
app.command("tasks")(looking.tasks)
app.command("state")(looking.state)
app.command("history")(looking.history)
app.command("diff", epilog="Example: petiole run diff 0197… order-7")(forking.diff)
app.command(
    "replay",
    epilog="Examples: petiole run replay order-7 --from charge --wait; petiole run replay --status failed --since 2h --yes",
)(steering.replay)
app.command("interrupts")(answering.interrupts)
app.command("resume", epilog="Example: petiole run resume order-7 --value '{\"approved\": true}' --wait")(
    answering.resume
)
app.command(
    "signal", epilog="Example: petiole run signal order-7 paid --payload '{\"amount\": 7}' --id bank-91"
)(answering.signal)
app.command(
    "update", epilog="Example: petiole run update order-7 --values '{\"amount\": 5}' --as-node price"
)(forking.update)
app.command(
    "fork",
    epilog="Example: petiole run fork order-7 --checkpoint 0197… --values '{\"amount\": 5}' --as-node price --wait",
)(forking.fork)
app.command(
    "cancel", epilog="Example: petiole run cancel --graph shop.order --status queued --since 1h --yes"
)(steering.cancel)
app.command("pause", epilog="Example: petiole run pause order-7 --reason 'the bank is down'")(steering.pause)
app.command("unpause")(steering.unpause)
app.command("delete")(pruning.delete)
app.command("export", epilog="Example: petiole run export order-7 -f order-7.json")(carrying.export)
app.command(
    "import", cls=VariadicCommand, epilog="Example: petiole run import order-7.json --graphs shop.flows:order"
)(carrying.import_)
