"""A device that stands in for a GPU where there is none: its tensors compute on the CPU, and refuse
what a GPU's refuse.

Everything on ``standin`` holds its numbers in a tensor of the CPU that nothing but this file sees.
An operation on tensors of both devices raises, as on a GPU, and so does ``.numpy()``. What a GPU
takes is taken here: a number without axes of the CPU, and indices of the CPU.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing

NAME = "standin"
AVAILABLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
"""Whether this torch lets Python be a device, which 2.9 does not."""
aten = torch.ops.aten

# The only operations that take tensors of two devices, but for numbers and indices.
ACROSS = {aten.copy_.default, aten._to_copy.default}
INDEXED = {
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}


class StandinTensor(Tensor):
    """A tensor on the stand-in device.

    Attributes:
        held: the same numbers on the CPU.

    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "StandinTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self, **_: Any) -> str:
        return f"{self.held!r} on {NAME}"

    # What PyTorch keeps from subclasses, as a GPU's tensors have it.

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(f"can't convert {self.device} device type tensor to numpy")
        return self.detach().cpu().numpy(force=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> "StandinTensor":
        copied = type(self)(self.held.detach().clone()).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return memo.setdefault(id(self), copied)

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.held.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if func not in ACROSS:
            refuse_mixed(func, tensors)
        wanted = kwargs.get("device")
        here = wanted is None or torch.device(wanted).type == NAME
        if func is aten.copy_.default:
            here = isinstance(args[0], cls)
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        kwargs.pop("pin_memory", None)
        inner = pytree.tree_map_only(cls, lambda t: t.held, (args, kwargs))
        found = func(*inner[0], **inner[1])
        if not here:
            return found
        wrapped = pytree.tree_map_only(Tensor, cls, found)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)


def refuse_mixed(func: Any, tensors: list[Tensor]) -> None:
    """Raise as PyTorch does where tensors of two devices meet."""
    known = {t.device.type for t in tensors if t.dim() or isinstance(t, StandinTensor)}
    if len(known) > 1:
        own = tensors[0]
        if func in INDEXED and isinstance(own, StandinTensor):
            values = tensors[1:] if func is aten.index.Tensor else tensors[1:-1]
            if all(not t.dtype.is_floating_point for t in values):
                return
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {func} got {sorted(known)}"
        )


def install() -> None:
    """Make ``torch.device("standin")`` known; once a process, and for good."""
    if not AVAILABLE or torch._C._get_privateuse1_backend_name() == NAME:
        return
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    for op in _factories():
        _LIBRARY.impl(op, _on_standin(op), "PrivateUse1")
    _LIBRARY.impl("_copy_from", _copied, "PrivateUse1")


_LIBRARY = torch.library.Library("aten", "IMPL")


def _copied(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy from one device to another, which ``torch.tensor(..., device=)`` calls directly."""
    ends = [getattr(tensor, "held", tensor) for tensor in (target, source)]
    ends[0].copy_(ends[1])
    return target


def _on_standin(op: Any) -> Any:
    def made(*args: Any, **kwargs: Any) -> Tensor:
        kwargs = {**kwargs, "device": torch.device("cpu"), "pin_memory": None}
        known = {argument.name for argument in op._schema.arguments}
        found = op(*args, **{k: v for k, v in kwargs.items() if k in known})
        return StandinTensor(found)

    return made


def _factories() -> list[Any]:
    """Return the operations that make a tensor of no other."""
    found = []
    for name in torch._C._dispatch_get_all_op_names():
        namespace, _, rest = name.partition("::")
        base, _, overload = rest.partition(".")
        if namespace != "aten":
            continue
        if not torch._C._dispatch_has_kernel_for_dispatch_key(name, "CPU") and not (
            torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeExplicitAutograd")
        ):
            continue
        try:
            op = getattr(getattr(aten, base), overload or "default")
        except (AttributeError, RuntimeError):
            continue
        arguments = op._schema.arguments
        if any("Tensor" in str(argument.type) for argument in arguments):
            continue
        if any(argument.name == "device" for argument in arguments):
            found.append(op)
    return found


def fabric(device: str = NAME, precision: str = "float32") -> Any:
    """Return a Fabric of one process on the stand-in, which Fabric has no name for."""
    from lightning_fabric import Fabric
    from lightning_fabric.accelerators import CPUAccelerator
    from lightning_fabric.strategies import SingleDeviceStrategy

    class Accelerator(CPUAccelerator):
        def setup_device(self, device: torch.device) -> None:
            """Need nothing."""

    assert device == NAME
    strategy = SingleDeviceStrategy(torch.device(NAME, 0), accelerator=Accelerator())
    made = Fabric(strategy=strategy)
    made.launch()
    return made
