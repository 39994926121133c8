"""Faster forms of the model's formulas for training on a CPU: the same functions by other operators.

`in_training` alone chooses. Eval mode, exports, counts and other devices see the plain forms. A form returns None where
the plain one is faster. Speeds are those of torch 2.13. Shapes: as in the plain forms, N = H W positions, G = B h.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from mfsearch.model.bridge import ToFormer, ToMobile
    from mfsearch.model.dyrelu import DyReLU
    from mfsearch.model.former import Former
    from mfsearch.model.mobile import ConvNorm

FEW_POSITIONS = 4  # over more of them, ToMobile's products and softmax are faster than one operator
SMALL_MAP = 16  # positions

Plain = TypeVar("Plain", bound=Callable[..., Any])


def applies(module: nn.Module, x: Tensor) -> bool:
    """Whether a module may use a faster form on x."""
    return module.training and x.device.type == "cpu"


def in_training(form: Callable[..., Any]) -> Callable[[Plain], Plain]:
    """Decorates a method: training on a CPU calls `form` with the same arguments, or the method if it gives None."""

    def decorate(plain: Plain) -> Plain:
        @wraps(plain)
        def chosen(module: nn.Module, x: Tensor, *args: Any) -> Any:
            y = form(module, x, *args) if applies(module, x) else None
            return plain(module, x, *args) if y is None else y

        return cast(Plain, chosen)

    return decorate


def convolve(part: "ConvNorm", x_BCHW: Tensor) -> Tensor | None:
    """The convolution, in the form with the cheapest backward."""
    (B, C, H, W), conv = x_BCHW.shape, part.conv
    (kernel, _), stride, weight = conv.kernel_size, conv.stride, conv.weight
    if kernel == 1 and conv.groups == 1 and H * W <= SMALL_MAP:  # a matrix product: up to 2.4 times as fast
        return F.linear(x_BCHW.permute(0, 2, 3, 1), weight.flatten(1)).permute(0, 3, 1, 2)
    if kernel in (1, 2) or conv.groups < C:
        return None
    times = conv.out_channels // C
    if times > 1 and stride == (1, 1):  # repeat the channels first, then convolve depthwise: 1.4 to 2.8 times as fast
        x_BHWCt = x_BCHW.permute(0, 2, 3, 1)[..., None].expand(B, H, W, C, times)
        x_BCHW, C = x_BHWCt.reshape(B, H, W, C * times).permute(0, 3, 1, 2), C * times
    if min(H, W) >= kernel:
        return F.conv2d(x_BCHW, weight, None, stride, conv.padding, groups=C)
    p = kernel // 2  # the kernel is wider than the map: without this padding the backward takes 3 to 5 times as long
    return F.conv2d(F.pad(x_BCHW, (p, p, p, p)), weight, None, stride, groups=C)


def gather(bridge: "ToFormer", q_BMC: Tensor, k_BhcN: Tensor, v_BhcN: Tensor) -> tuple[Tensor, None] | None:
    """ToFormer's attention as one operator, which gives no scores."""
    if bridge.needs_scores:
        return None
    q_BhMc = q_BMC.view(*q_BMC.shape[:2], bridge.heads, bridge.width).transpose(1, 2)
    y_BhMc = F.scaled_dot_product_attention(q_BhMc, k_BhcN.transpose(2, 3), v_BhcN.transpose(2, 3))
    return y_BhMc.transpose(1, 2).flatten(2), None


def spread(bridge: "ToMobile", q_BCHW: Tensor, z_BMD: Tensor) -> Tensor | None:
    """ToMobile's attention as one operator, on maps of few positions."""
    B, C, H, W = q_BCHW.shape
    if H * W > FEW_POSITIONS:
        return None
    q_BhNc = q_BCHW.flatten(2).view(B, bridge.heads, bridge.width, H * W).transpose(2, 3)
    k_BhMc, v_BhMc = (
        layer(z_BMD).view(B, -1, bridge.heads, bridge.width).transpose(1, 2) for layer in (bridge.key, bridge.value)
    )
    y_BhNc = F.scaled_dot_product_attention(q_BhNc, k_BhMc, v_BhMc)
    return y_BhNc.transpose(1, 2).reshape(B, H, W, C).permute(0, 3, 1, 2)


def attend(former: "Former", q_BMD: Tensor, k_BMD: Tensor, v_BMD: Tensor) -> Tensor:
    """Former's attention with fewer copies."""
    return _Attention.apply(q_BMD, k_BMD, v_BMD, former.heads)  # type: ignore[no-any-return, no-untyped-call]


class _Attention(torch.autograd.Function):
    """softmax(q k / sqrt(c)) v per head. With so few tokens, copies and short rows cost more than the products.

    So each head is copied to its own rows once, and the softmax runs down the columns: four times as fast at 6 tokens.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, q_BMD: Tensor, k_BMD: Tensor, v_BMD: Tensor, heads: int) -> Tensor:
        q_GMc, k_GMc = _split(q_BMD, heads), _split(k_BMD, heads)
        v_GMc = k_GMc if v_BMD is k_BMD else _split(v_BMD, heads)
        scale = q_GMc.shape[2] ** -0.5
        share_GKQ = torch.bmm(k_GMc, q_GMc.transpose(1, 2)).mul_(scale).softmax(1)  # keys by queries
        ctx.save_for_backward(q_GMc, k_GMc, v_GMc, share_GKQ)
        ctx.heads, ctx.scale = heads, scale
        return _join(torch.bmm(share_GKQ.transpose(1, 2), v_GMc), heads)

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[override]
        ctx: Any, g_BMD: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        q_GMc, k_GMc, v_GMc, share_GKQ = ctx.saved_tensors
        g_GMc = _split(g_BMD, ctx.heads)
        share_grad = torch.bmm(v_GMc, g_GMc.transpose(1, 2))
        score_grad = torch._softmax_backward_data(share_grad, share_GKQ, 1, share_GKQ.dtype).mul_(ctx.scale)
        q_grad = torch.bmm(score_grad.transpose(1, 2), k_GMc)
        k_grad, v_grad = torch.bmm(score_grad, q_GMc), torch.bmm(share_GKQ, g_GMc)
        return _join(q_grad, ctx.heads), _join(k_grad, ctx.heads), _join(v_grad, ctx.heads), None


def _split(y_BMD: Tensor, heads: int) -> Tensor:
    return y_BMD.reshape(*y_BMD.shape[:2], heads, -1).transpose(1, 2).flatten(0, 1)


def _join(y_GMc: Tensor, heads: int) -> Tensor:
    return y_GMc.view(-1, heads, *y_GMc.shape[1:]).transpose(1, 2).flatten(2)


def largest_line(act: "DyReLU", x: Tensor, a: list[Tensor], b: list[Tensor]) -> Tensor | None:
    """DyReLU's maximum, where its backward has a cheaper form."""
    if b or len(a) == 3 or act.config.source == "spatial":
        return None
    return _LargerOfTwo.apply(x, a[0].to(x.dtype), a[1].to(x.dtype))  # type: ignore[no-any-return, no-untyped-call]


class _LargerOfTwo(torch.autograd.Function):
    """max(a x, b x) with slopes a, b [B, C, 1, 1]: fewer passes than autograd, and less is kept.

    It is n x + |a - b| relu(x) with the smaller slope n. The larger slope's derivative is the sum of g x over x > 0;
    the smaller slope's is the sum over the rest. At x = 0 or equal slopes, one valid choice is taken.
    """

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(x_BCHW, a, b)
        return x_BCHW.clamp_min(0).mul_((a - b).abs_()).addcmul_(x_BCHW, torch.minimum(a, b))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_BCHW, a, b = ctx.saved_tensors
        above_BCHW = torch.ops.aten.threshold_backward(g_BCHW, x_BCHW, 0)  # g where x > 0
        larger = (above_BCHW * x_BCHW).sum((2, 3), keepdim=True)
        smaller = (g_BCHW * x_BCHW).sum((2, 3), keepdim=True) - larger
        first = a >= b
        return (
            above_BCHW.mul_((a - b).abs_()).addcmul_(g_BCHW, torch.minimum(a, b)),
            torch.where(first, larger, smaller),
            torch.where(first, smaller, larger),
        )
