"""A moment in a form that says whether it was edited, however long the page was open."""

from __future__ import annotations

from typing import Any

from django.forms import SplitDateTimeField
from django.forms.boundfield import BoundField
from django.utils.safestring import SafeString


class MomentField(SplitDateTimeField):
    """Two inputs whose `show_hidden_initial` outlasts a mistake in the form."""

    def get_bound_field(self, form: Any, field_name: str) -> BoundField:
        return _Moment(form, self, field_name)


class _Moment(BoundField):
    def as_hidden(
        self, attrs: Any = None, *, only_initial: bool = False, **kwargs: Any
    ) -> SafeString:
        # Django looks for what was shown under one name, and would say what was typed instead.
        form, name = self.form, self.html_initial_name
        if only_initial and f"{name}_0" in form.data:
            widget = self.field.hidden_widget()
            shown = widget.value_from_datadict(form.data, form.files, name)
            return widget.render(name, shown, {"id": self.html_initial_id}, form.renderer)
        return super().as_hidden(attrs, only_initial=only_initial, **kwargs)
