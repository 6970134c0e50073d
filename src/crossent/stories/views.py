"""A story on a terminal, as plain text, and as an HTML fragment."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from crossent.explanation.html import table as html_table
from crossent.explanation.text import ClassTable, Column, class_table
from crossent.explanation.words import headline, left_out

if TYPE_CHECKING:
    from crossent.stories.story import Story, StoryTable


def story_view(story: Story) -> RenderableType:
    """Return the whole story for a rich console of any width."""
    parts: list[RenderableType] = [Text(story.title, style="bold"), Text(story.question, style="italic"), Text()]
    for caption, one in story.predictions.items():
        parts += [
            Text(f"{caption}: {headline(one.differential)}", style="bold"),
            class_table(one, story.rows(one)),
            *map(Text, left_out(one.differential, story.rows(one))),
            Text(),
        ]
    for table in story.tables:
        parts += [Text(table.title, style="bold"), _text_table(table), Text()]
    return Group(*parts, *(_bullet(fact.text) for fact in story.facts))


def _bullet(text: str) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text("•"), Text(text))
    return grid


def _text_table(table: StoryTable) -> RenderableType:
    names, *columns = zip(*table.cells(), strict=True)
    groups = [[Column(_folded(title), cells)] for title, cells in zip(table.columns[1:], columns, strict=True)]
    return ClassTable(names, groups, frozenset(), _folded(table.columns[0]))


def _folded(title: str) -> str:
    """Break a title into lines of a word or two."""
    lines = [""]
    for word in title.split():
        if lines[-1] and len(lines[-1]) + len(word) > 9:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def story_html(story: Story) -> str:
    """Return title, question, a table per prediction, the story's own tables, and its sentences."""
    parts = [f"<h3>{escape(story.title)}</h3><p><em>{escape(story.question)}</em></p>"]
    for caption, one in story.predictions.items():
        parts.append(html_table(one, f"{caption}: {headline(one.differential)}", story.rows(one)))
        parts += [f"<p>{escape(line)}</p>" for line in left_out(one.differential, story.rows(one))]
    for table in story.tables:
        head = "".join(f'<th scope="col">{escape(title)}</th>' for title in table.columns)
        rows = "".join(
            f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>"
            for first, *rest in table.cells()
        )
        caption_tag = f"<caption>{escape(table.title)}</caption>"
        parts.append(f"<table>{caption_tag}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    facts = "".join(f"<li>{escape(fact.text)}</li>" for fact in story.facts)
    return f'<div class="crossent-story">{"".join(parts)}<ul>{facts}</ul></div>'
