"""The graph of a repo's lineage as SVG: what it was made from to the left, what came of it to the right."""

from __future__ import annotations

from collections import defaultdict

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from adapters.catalog.lineage import Edge, Graph, Node

WIDTH, HEIGHT, ACROSS, DOWN, MARGIN = 232, 50, 76, 14, 4


def draw(graph: Graph, here: str) -> SafeString:
    """Boxes in columns by step, curves for edges. `here` is the id of the node in the middle."""
    columns: dict[int, list[Node]] = defaultdict(list)
    for node in graph.nodes.values():
        columns[node.step].append(node)
    steps = sorted(columns)
    tallest = max(len(column) + (step in graph.left_out) for step, column in columns.items())
    height = tallest * (HEIGHT + DOWN) - DOWN + 2 * MARGIN
    width = len(steps) * (WIDTH + ACROSS) - ACROSS + 2 * MARGIN
    places: dict[str, tuple[float, float]] = {}
    more = []
    for number, step in enumerate(steps):
        rows = len(columns[step]) + (step in graph.left_out)
        top = MARGIN + (height - 2 * MARGIN - rows * (HEIGHT + DOWN) + DOWN) / 2
        x = MARGIN + number * (WIDTH + ACROSS)
        for row, node in enumerate(columns[step]):
            places[node.id] = (x, top + row * (HEIGHT + DOWN))
        if step in graph.left_out:
            y = top + len(columns[step]) * (HEIGHT + DOWN) + 16
            more.append(format_html('<text class="note" x="{}" y="{}">and {} more</text>', x, y, graph.left_out[step]))
    near = {(edge.parent, edge.child) for edge in graph.edges if _span(graph, edge) == 1}
    edges = format_html_join("", "{}", ((_edge(edge, places, _is_implied(graph, edge, near)),) for edge in graph.edges))
    nodes = format_html_join("", "{}", ((_node(node, *places[node.id], node.id == here),) for node in
                                        graph.nodes.values()))  # fmt: skip
    above = sum(node.step < 0 for node in graph.nodes.values())
    below = sum(node.step > 0 for node in graph.nodes.values())
    words = f"Lineage: made from {above}, used in {below}"
    return format_html(
        '<svg class="lineage" width="{}" height="{}" viewBox="0 0 {} {}" role="group" aria-label="{}">{}{}{}</svg>',
        width, height, width, height, words, edges, nodes, format_html_join("", "{}", ((item,) for item in more)),
    )  # fmt: skip


def _span(graph: Graph, edge: Edge) -> int:
    return graph.nodes[edge.child].step - graph.nodes[edge.parent].step


def _is_implied(graph: Graph, edge: Edge, near: set[tuple[str, str]]) -> bool:
    """Whether a long edge only says what edges between neighbours say already."""
    reached = {edge.parent}
    for _ in range(_span(graph, edge)):
        reached = {child for parent, child in near if parent in reached}
    return _span(graph, edge) > 1 and edge.child in reached


def _edge(edge: Edge, places: dict[str, tuple[float, float]], implied: bool) -> SafeString:
    (x1, y1), (x2, y2) = places[edge.parent], places[edge.child]
    x1, y1, y2 = x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2
    bend = max(30.0, (x2 - x1) / 2)
    label = SafeString("")
    if edge.weight is not None and edge.weight != 1:
        label = format_html(
            '<text class="note" x="{}" y="{}" text-anchor="middle">× {}</text>', f"{(x1 + x2) / 2:.0f}",
            f"{(y1 + y2) / 2 - 4:.0f}", f"{edge.weight:.2g}",
        )  # fmt: skip
    return format_html(
        '<path class="edge edge-{}{}" d="M{} {}C{} {} {} {} {} {}"/>{}', edge.relation, " implied" if implied else "",
        f"{x1:.0f}", f"{y1:.1f}", f"{x1 + bend:.0f}", f"{y1:.1f}", f"{x2 - bend:.0f}", f"{y2:.1f}", f"{x2:.0f}",
        f"{y2:.1f}", label,
    )  # fmt: skip


def _node(node: Node, x: float, y: float, here: bool) -> SafeString:
    title, under, url = _said(node)
    box = format_html(
        '<rect x="{}" y="{}" width="{}" height="{}" rx="6"/>'
        '<rect class="mark" x="{}" y="{}" width="4" height="{}" rx="2"/>'
        '<text class="title" x="{}" y="{}">{}</text><text class="note" x="{}" y="{}">{}</text>',
        x, f"{y:.1f}", WIDTH, HEIGHT, x + 6, f"{y + 8:.1f}", HEIGHT - 16, x + 18, f"{y + 21:.1f}", _cut(title, 29),
        x + 18, f"{y + 38:.1f}", _cut(under, 38),
    )  # fmt: skip
    classes = f"node node-{node.kind}{' here' if here else ''}"
    if not url:
        return format_html('<g class="{}"><title>{}</title>{}</g>', classes, f"{title}, {under}", box)
    words = f"{title}, {under}"
    return format_html(
        '<a class="{}" href="{}" aria-label="{}"><title>{}</title>{}</a>', classes, url, words, words, box
    )


def _said(node: Node) -> tuple[str, str, str]:
    """(first line, second line, where it leads)"""
    if node.repo is not None:
        note = " · ".join(filter(None, (node.repo.owner.name, node.kind, node.note, node.sha[:7])))
        return node.repo.name, note, node.repo.get_absolute_url()
    if node.title:
        return node.title, node.note, node.url
    return "A private repo", "you may not see it", ""


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
