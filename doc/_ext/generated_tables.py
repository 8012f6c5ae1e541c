# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Directives that write tables from the code, so that pages cannot disagree with it.

``blendid-columns:: BLEND_COLUMNS``
    Columns of an output table.
``blendid-flags::``
    Flags of a footprint.
``blendid-catalog-fields:: RECORD_FIELDS``
    Fields that a catalogue of sources gets.
``blendid-config:: MODULE:CLASS``
    Fields of a `lsst.pex.config.Config`, with those of its sub-configs.
``blendid-settings:: MODULE:CLASS``
    What a model is trained with, a class of `~lsst.meas.blendid.model_settings.ModelSettings`.
``blendid-connections:: MODULE:CLASS``
    Inputs and outputs of a pipeline task.
``blendid-command:: NAME ...``
    Usage, arguments, options and examples of a command.
``blendid-classifiers::``
    Registered classifiers.
``blendid-features:: MODULE:DICT``
    Names and descriptions that a dictionary holds.
``blendid-models::``
    Model packages that come with the installation.
"""

from __future__ import annotations

__all__ = ("setup",)

import importlib
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata


def _load(target: str) -> Any:
    """Import the object that is named ``MODULE:ATTRIBUTE``."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _escape(text: object) -> str:
    """Make text safe inside a cell of a list-table; options are shown as literals."""
    words = []
    for word in str(text).split():
        option = re.fullmatch(r"(\W*?)(--?[a-z][\w=-]*)(\W*)", word)
        if option:
            words.append(f"{option[1]}``{option[2]}``{option[3]}")
        else:
            words.append(re.sub(r"([*`|_\\])", r"\\\1", word))
    return " ".join(words)


def _literal(text: object) -> str:
    return f"``{text}``" if str(text).strip() else ""


def _list_table(header: Sequence[str], rows: Iterable[Sequence[str]], widths: str) -> list[str]:
    """RST lines of a table."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in itertools.chain([header], rows):
        for i, cell in enumerate(row):
            lines.append(f"   {'*' if i == 0 else ' '} - {cell}".rstrip())
    return [*lines, ""]


class _GeneratedDirective(SphinxDirective):
    """A directive whose content is RST made by `_make_lines`."""

    has_content = False

    def _make_lines(self) -> Iterator[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        try:
            lines = list(self._make_lines())
        except Exception as error:
            raise self.error(f"{self.name}: {type(error).__name__}: {error}") from error
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=False)


class ColumnsDirective(_GeneratedDirective):
    """Columns of an output table."""

    required_arguments = 1

    def _make_lines(self) -> Iterator[str]:
        columns = _load(f"lsst.meas.blendid.tables:{self.arguments[0]}")
        rows = [(_literal(c.name), _literal(c.dtype), c.unit, _escape(c.description)) for c in columns]
        yield from _list_table(("Column", "Type", "Unit", "Description"), rows, "25 10 10 55")


class FlagsDirective(_GeneratedDirective):
    """Flags of a footprint."""

    def _make_lines(self) -> Iterator[str]:
        rows = [
            (_literal(f.column), "not classified" if f.blocking else "warning", _escape(f.description))
            for f in _load("lsst.meas.blendid.flags:FLAGS")
        ]
        yield from _list_table(("Column", "Effect", "Meaning when set"), rows, "30 15 55")


class CatalogFieldsDirective(_GeneratedDirective):
    """Fields that a catalogue of sources gets."""

    required_arguments = 1

    def _make_lines(self) -> Iterator[str]:
        fields = _load(f"lsst.meas.blendid.source_catalogs:{self.arguments[0]}")
        rows = [
            (_literal(f.name), "Flag" if f.dtype == "bool" else "F", _escape(f.description)) for f in fields
        ]
        yield from _list_table(("Field", "Type", "Description"), rows, "35 10 55")


class ConfigDirective(_GeneratedDirective):
    """Fields of a config class; those of a sub-config follow under its name."""

    required_arguments = 1

    def _make_lines(self) -> Iterator[str]:
        yield from self._describe(_load(self.arguments[0])(), "")

    def _describe(self, config: Any, prefix: str) -> Iterator[str]:
        from lsst.pex.config import ChoiceField, ConfigField, RegistryField

        inner = []
        for name, field in sorted(config._fields.items()):
            if not prefix and name in ("connections", "saveLogOutput"):
                continue
            value = getattr(config, name)
            # ChoiceField and RegistryField append what they allow to the text that they were given.
            doc = [_escape(field.doc.split("Allowed values:")[0])]
            if isinstance(field, ChoiceField):
                doc += [""]
                doc += [f"- {_literal(k)}: {_escape(v)}" for k, v in field.allowed.items() if k is not None]
            if isinstance(field, RegistryField):
                value = sorted(value.names) if field.multi else value.name
            elif isinstance(field, ConfigField):
                inner.append((name, value, doc))
                continue
            elif hasattr(value, "__iter__") and not isinstance(value, str):
                value = list(value)
            yield f"{_literal(prefix + name)} = {_literal(repr(value))}"
            yield from (f"   {line}".rstrip() for line in doc)
            yield ""
        for name, value, doc in inner:
            yield from (f".. rubric:: {prefix}{name}", "", *doc, "")
            yield from self._describe(value, f"{prefix}{name}.")


class SettingsDirective(_GeneratedDirective):
    """Settings that a model is trained with, those of a group after its name."""

    required_arguments = 1

    def _make_lines(self) -> Iterator[str]:
        list_settings = _load("lsst.meas.blendid.model_settings:list_settings")
        yield from (".. rubric:: Settings of the training (``blendid train --set NAME=VALUE``)", "")
        for name, _kind, field in list_settings(_load(self.arguments[0])):
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            yield f"{_literal(name)} = {_literal(repr(default))}"
            yield from (f"   {_escape(field.metadata['doc'])}", "")


class ConnectionsDirective(_GeneratedDirective):
    """Inputs and outputs of a task."""

    required_arguments = 1

    def _make_lines(self) -> Iterator[str]:
        cls = _load(self.arguments[0])
        for name, connection in cls.allConnections.items():
            dataset = connection.name.format(**getattr(cls, "defaultTemplates", {}))
            kind = re.sub(r"(?<!^)(?=[A-Z])", " ", type(connection).__name__).lower()
            yield f"{_literal(name)} ({kind})"
            yield f"   {_escape(connection.doc)}"
            yield ""
            # Schemas and the like, of which there is one in a run, have no dimensions.
            dimensions = ", ".join(getattr(connection, "dimensions", ()))
            kind_of_data = f"storage class {_literal(connection.storageClass)}"
            yield f"   Dataset type {_literal(dataset)}, {kind_of_data}{',' if dimensions else '.'}"
            yield f"   dimensions {dimensions}." if dimensions else ""
            yield ""


class CommandDirective(_GeneratedDirective):
    """Help of a command, as a page shows it."""

    required_arguments = 1
    optional_arguments = 3

    def _make_lines(self) -> Iterator[str]:
        command: click.Command = _load("lsst.meas.blendid.cli:main")
        context = click.Context(command, info_name="blendid")
        for name in self.arguments:
            assert isinstance(command, click.Group)
            found = command.get_command(context, name)
            if found is None:
                raise ValueError(f"blendid has no command {' '.join(self.arguments)}")
            command, context = found, click.Context(found, info_name=name, parent=context)
        yield from self._describe(command, context)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                sub = command.get_command(context, name)
                assert sub is not None
                yield from (f".. rubric:: {context.command_path} {name}", "")
                yield from self._describe(sub, click.Context(sub, info_name=name, parent=context))

    def _describe(self, command: click.Command, context: click.Context) -> Iterator[str]:
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        yield from (".. code-block:: text", "", f"   {usage}", "")
        yield from _help_lines(command.help)
        rows = []
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                record = parameter.get_help_record(context)
                if record is not None:
                    rows.append((_literal(record[0]), _escape(record[1])))
        if rows:
            yield from _list_table(("Option", "Meaning"), rows, "35 65")
        if command.epilog:
            yield from _help_lines(command.epilog)


def _help_lines(text: str | None) -> Iterator[str]:
    r"""RST of click help, where paragraphs that start with ``\b`` keep their lines."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text or "").split("\f")[0]):
        lines = paragraph.splitlines()
        if lines and lines[0].strip() == "\b":
            # The first line of such a paragraph may introduce the rest, which is then indented.
            title = [] if len(lines) < 3 or lines[2][:1] != " " else [_escape(lines[1]), ""]
            body = lines[2:] if title else lines[1:]
            yield from (*title, ".. code-block:: text", "", *(f"   {line.strip()}" for line in body), "")
        elif paragraph.strip():
            yield from (_escape(paragraph), "")


class ClassifiersDirective(_GeneratedDirective):
    """Registered classifiers."""

    def _make_lines(self) -> Iterator[str]:
        registry = _load("lsst.meas.blendid.classifiers:classifier_registry")
        rows = []
        for name, cls in sorted(registry.items()):
            summary = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]
            rows.append((_literal(name), _literal(cls.__name__), _escape(summary)))
        yield from _list_table(("Name", "Class", "What it does"), rows, "15 30 55")


class FeaturesDirective(_GeneratedDirective):
    """Names and descriptions that a dictionary holds."""

    required_arguments = 1

    def _make_lines(self) -> Iterator[str]:
        rows = [(_literal(name), _escape(doc)) for name, doc in _load(self.arguments[0]).items()]
        yield from _list_table(("Feature", "What it is"), rows, "30 70")


class ModelsDirective(_GeneratedDirective):
    """Model packages that come with the installation."""

    def _make_lines(self) -> Iterator[str]:
        module = importlib.import_module("lsst.meas.blendid.model_package")
        rows = []
        for name in module.list_shipped():
            package = module.ModelPackage.read(name)
            ranges = [package.inputs.get(key) for key in ("psf_sigma", "depth")]
            kind = "" if package.kind == "classifier" else f"{package.kind} "
            rows.append(
                (
                    _literal(name),
                    kind + _literal(package.classifier),
                    ", ".join(package.bands) or "any",
                    *(f"{r[0]:.3g} to {r[1]:.3g}" if r else "any" for r in ranges),
                    _literal(successor) if (successor := module.find_successor(name)) else "",
                )
            )
        if not rows:
            raise ValueError("no model package comes with the installation")
        header = ("Name", "Model of", "Bands", "PSF sigma [pix]", "5-sigma depth [mag]", "Superseded by")
        yield from _list_table(header, rows, "25 15 10 15 15 20")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives."""
    for name, directive in (
        ("blendid-columns", ColumnsDirective),
        ("blendid-flags", FlagsDirective),
        ("blendid-catalog-fields", CatalogFieldsDirective),
        ("blendid-config", ConfigDirective),
        ("blendid-settings", SettingsDirective),
        ("blendid-connections", ConnectionsDirective),
        ("blendid-command", CommandDirective),
        ("blendid-classifiers", ClassifiersDirective),
        ("blendid-features", FeaturesDirective),
        ("blendid-models", ModelsDirective),
    ):
        app.add_directive(name, directive)
    return {"version": "1", "parallel_read_safe": True}
