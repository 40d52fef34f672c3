"""The methods: a rollout or a target, and a loss."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.nn.functional import logsigmoid, softplus

from distill_core import flow
from distill_core.protocols import Ask, Method, StagedLoss, Tangents, ValidationRequest

STEPS = (1000.0, 500.0)


def at(t, batch, like):
    """One timestep for every sample, [B]."""
    return torch.full((batch.size,), float(t), dtype=torch.float64, device=like.device)


def per_sample(x):
    return x.flatten(1).mean(1)


def squared(a, b):
    return ((a - b) ** 2).mean()


class Zoo(Method):
    """What they share: roles by name, a student that steps, few steps to validate."""

    steps = ("student",)

    def __init__(self, roles, options):
        self.roles, self.options = roles, options
        self.student, self.teacher = roles["student"], roles.get("teacher")

    def guided(self, x, t, batch, **asked):
        """uncond + s (cond - uncond) of the teacher, as a velocity."""
        condition = batch.condition_of(self.teacher)
        cond = self.teacher.predict_velocity(x, t, condition, **asked)
        uncond = self.teacher.predict_velocity(x, t, self.teacher.unconditional(condition), **asked)
        return uncond + self.options.guidance_scale * (cond - uncond)

    def score_time(self, batch, draw, name="score time"):
        return self.student.shift_timestep(draw.uniform(name, 0.0, 1000.0), batch.latent_shape).clamp(20.0, 980.0)

    def noised(self, batch, draw, t):
        noise = draw.normal_like("noise", batch.latents)
        return self.student.add_noise(batch.latents, noise, t), noise

    def roles_to_step(self, step):
        return self.steps

    def validation(self, step):
        return ValidationRequest(role="student", sampler="sde", timesteps=STEPS, guidance_scale=1.0)


class Adversarial(Zoo):
    """LADD (2403.12015): the student on one step, the head on the other."""

    def roles_to_step(self, step):
        return ("student",) if step % 2 == 0 else ("head",)

    def logit(self, x, t, batch, **asked):
        head = self.roles["head"].module
        ask = Ask(features=(head.layer,))
        return head(self.teacher.predict(x, t, batch.condition_of(self.teacher), ask, **asked).features[0])

    def losses(self, batch, draw):
        trains_student = "student" in self.roles_to_step(draw.step)
        start, t = draw.choice("step", STEPS), self.score_time(batch, draw)
        x, noise = self.noised(batch, draw, start)
        with torch.set_grad_enabled(trains_student):
            fake = self.student.predict_x0(x, start, batch.condition_of(self.student))
            fake = self.student.add_noise(fake, noise, t)
        if trains_student:
            yield StagedLoss("student", "generator", softplus(-self.logit(fake, t, batch, input_gradients=True)).mean())
        else:
            real = self.student.add_noise(batch.latents, noise, t)
            value = softplus(self.logit(fake, t, batch)).mean() + softplus(-self.logit(real, t, batch)).mean()
            yield StagedLoss("head", "discriminator", value)


class Consistency(Zoo):
    """Consistency distillation (2303.01469) onto an average of the student."""

    def losses(self, batch, draw):
        t = self.score_time(batch, draw)
        x, _ = self.noised(batch, draw, t)
        earlier = flow.euler_step(x, self.guided(x, t, batch), t, 0.8 * t)
        target = self.roles["target"]
        aim = target.predict_x0(earlier, 0.8 * t, batch.condition_of(target))
        yield StagedLoss(
            "student", "consistency", squared(self.student.predict_x0(x, t, batch.condition_of(self.student)), aim)
        )

    def keeps(self, step):
        return {"target": 0.9}


class Scm(Zoo):
    """A consistency loss in continuous time (after 2410.11081): the derivative along the teacher's flow, weighed by a learnt variance."""

    steps = ("student", "logvar")

    def losses(self, batch, draw):
        t = draw.uniform("t", 50.0, 950.0)
        x, _ = self.noised(batch, draw, t)
        v = self.guided(x, t, batch)
        along = Tangents(v, torch.ones_like(t))
        asked = self.student.predict(x, t, batch.condition_of(self.student), Ask(along=along))
        sigma = flow.sigma_of(t, x)
        tangent = v - asked.velocity.detach() - sigma * asked.derivative  # of x0 = x - σ v along the flow
        size = flow.shaped_like(per_sample(tangent.abs()), tangent)
        aim = flow.x0_of(x, asked.velocity, t).detach() - sigma * tangent / (1.0 + size)
        error = per_sample((flow.x0_of(x, asked.velocity, t) - aim) ** 2)
        logvar = self.roles["logvar"].module
        said = logvar(t / 1000.0)
        with torch.no_grad():
            logvar.mean.lerp_(said.mean(), 0.1)
        yield StagedLoss(("student", "logvar"), "scm", (error * (-said).exp() + said).mean())


class Meanflow(Zoo):
    """MeanFlow (2505.13447): the mean velocity from t to r."""

    def losses(self, batch, draw):
        one, two = (self.score_time(batch, draw, name) for name in ("one", "two"))
        t, r = torch.maximum(one, two), torch.minimum(one, two)
        x, _ = self.noised(batch, draw, t)
        v, ones = self.guided(x, t, batch), torch.ones_like(t)
        ask = Ask(until=r, along=Tangents(v, ones, 0.0 * ones))
        asked = self.student.predict(x, t, batch.condition_of(self.student), ask)
        aim = v - (flow.sigma_of(t, x) - flow.sigma_of(r, x)) * asked.derivative
        yield StagedLoss("student", "meanflow", squared(asked.velocity, aim))

    def validation(self, step):
        return ValidationRequest("student", "ode", timesteps=(1000.0,), guidance_scale=1.0, until=True)


class ScoreIdentity(Zoo):
    """SiD: gradients through the teacher and the critic; the critic is trained, and a constant of the student's loss."""

    steps = ("student", "critic")

    def rollout(self, batch, draw, graph):
        start = draw.normal("start", batch.latent_shape)
        with torch.set_grad_enabled(graph):
            return self.student.predict_x0(start, at(1000, batch, start), batch.condition_of(self.student))

    def student_loss(self, x0, batch, draw):
        critic, t = self.roles["critic"], self.score_time(batch, draw)
        x = self.student.add_noise(x0, draw.normal_like("score", x0), t)
        fake = critic.predict_x0(x, t, batch.condition_of(critic))
        real = flow.x0_of(x, self.guided(x, t, batch, input_gradients=True), t)
        return (per_sample((real - fake) * (fake - x0)) / per_sample((x0 - real).abs()).detach().clamp(min=1e-5)).mean()

    def losses(self, batch, draw):
        yield StagedLoss("student", "student", self.student_loss(self.rollout(batch, draw, True), batch, draw))
        critic, x0 = self.roles["critic"], self.rollout(batch, draw, False)
        t, noise = self.score_time(batch, draw, "critic time"), draw.normal_like("critic", x0)
        v = critic.predict_velocity(critic.add_noise(x0, noise, t), t, batch.condition_of(critic))
        yield StagedLoss("critic", "critic", squared(v, noise - x0))


class DiffusionForcing(Zoo):
    """Diffusion forcing (2407.01392): a noise level for each block, block-causal attention."""

    def ask(self, batch):
        return Ask(blocks=self.options.block)

    def losses(self, batch, draw):
        frames, size = batch.latent_shape[0], self.options.block
        t = draw.uniform("t", 0.0, 1000.0, count=-(-frames // size)).repeat_interleave(size, dim=1)[:, :frames]
        t = self.student.shift_timestep(t, batch.latent_shape)
        x, noise = self.noised(batch, draw, t)
        v = self.student.predict_velocity(x, t, batch.condition_of(self.student), self.ask(batch))
        yield StagedLoss("student", "velocity", squared(v, noise - batch.latents))

    def validation(self, step):
        return ValidationRequest("student", "sde", timesteps=STEPS, guidance_scale=1.0, blocks=self.options.block)


class TeacherForcing(DiffusionForcing):
    """The same on clean frames before."""

    def ask(self, batch):
        return Ask(blocks=self.options.block, clean=batch.latents)


class SelfForcing(ScoreIdentity):
    """Self-Forcing (2506.08009): block after block on its own output, through a stream; the score of DMD."""

    def rollout(self, batch, draw, graph):
        frames, *rest = batch.latent_shape
        condition, stream, done = batch.condition_of(self.student), None, []
        leave = draw.shared_index("exit", len(STEPS))
        for start in range(0, frames, self.options.block):
            own = draw.within(f"block {start}")
            shape = (min(self.options.block, frames - start), *rest)
            x = own.normal("start", shape)
            for k in range(leave + 1):
                with torch.set_grad_enabled(graph and k == leave):
                    x0 = self.student.predict_x0(x, at(STEPS[k], batch, x), condition, Ask(stream=stream))
                if k < leave:
                    x = self.student.add_noise(x0, own.normal("again", shape), at(STEPS[k + 1], batch, x))
            with torch.no_grad():
                kept = self.student.predict(x0.detach(), at(0, batch, x0), condition, Ask(stream=stream, store=True))
            stream = kept.stream
            done.append(x0)
        return torch.cat(done, dim=1)

    def student_loss(self, x0, batch, draw):
        critic, t = self.roles["critic"], self.score_time(batch, draw)
        with torch.no_grad():
            x = self.student.add_noise(x0, draw.normal_like("score", x0), t)
            fake = critic.predict_x0(x, t, batch.condition_of(critic))
            real = flow.x0_of(x, self.guided(x, t, batch), t)
            gradient = (fake - real) / flow.shaped_like(per_sample((x0 - real).abs()).clamp(min=1e-5), x0)
        return 0.5 * squared(x0, (x0 - gradient).detach())

    def validation(self, step):
        return ValidationRequest("student", "sde", timesteps=STEPS, guidance_scale=1.0, blocks=self.options.block)


class Reward(Zoo):
    """Reward feedback through the decoder (ReFL, DRaFT), held near the teacher."""

    def losses(self, batch, draw):
        start = draw.normal("start", batch.latent_shape)
        t = at(1000, batch, start)
        x0 = self.student.predict_x0(start, t, batch.condition_of(self.student))
        near = squared(x0, self.teacher.predict_x0(start, t, batch.condition_of(self.teacher)))
        captions = [row.caption for row in batch.rows]
        reward = self.roles["reward"].module(self.student.decode_pixels(x0), captions).mean()
        yield StagedLoss("student", "reward", 0.5 * near - reward, {"said": reward.detach()})


class Nft(Zoo):
    """DiffusionNFT: samples of an old policy that follows, weighed by a reward."""

    def losses(self, batch, draw):
        old, reward, captions = self.roles["old"], self.roles["reward"].module, [row.caption for row in batch.rows]
        x = draw.normal("start", batch.latent_shape)
        for here, there in pairwise((1000.0, 500.0, 0.0)):
            v = old.predict_velocity(x, at(here, batch, x), batch.condition_of(old))
            x = flow.euler_step(x, v, at(here, batch, x), at(there, batch, x))
        with torch.no_grad():
            good = torch.sigmoid(5.0 * reward(self.student.decode_pixels(x), captions))
        t = self.score_time(batch, draw)
        noisy = self.student.add_noise(x, draw.normal_like("noise", x), t)
        v, was = (role.predict_velocity(noisy, t, batch.condition_of(role)) for role in (self.student, old))
        plus, minus = (
            per_sample((flow.x0_of(noisy, each, t) - x) ** 2) for each in (0.5 * v + 0.5 * was, 1.5 * was - 0.5 * v)
        )
        yield StagedLoss("student", "nft", (good * plus + (1.0 - good) * minus).mean())

    def keeps(self, step):
        return {"old": min(0.1 * step, 0.5)}

    def validation(self, step):
        return ValidationRequest("student", "ode", steps=4, guidance_scale=1.0)


class Preference(Zoo):
    """Diffusion-DPO (2311.12908) for flows: nearer to the better clip than the reference is, farther from the worse."""

    def error(self, role, clean, noise, t, batch):
        noisy = self.student.add_noise(clean, noise, t)
        return per_sample((role.predict_velocity(noisy, t, batch.condition_of(role)) - (noise - clean)) ** 2)

    def losses(self, batch, draw):
        t, noise = self.score_time(batch, draw), draw.normal_like("noise", batch.latents)
        better, worse = (
            self.error(self.student, clean, noise, t, batch) - self.error(self.teacher, clean, noise, t, batch)
            for clean in (batch.latents, batch.tensors["worse_latent"])
        )
        yield StagedLoss("student", "preference", -logsigmoid(-10.0 * (better - worse)).mean())

    def validation(self, step):
        return ValidationRequest("student", steps=4, guidance_scale=1.0)


class Paths(Zoo):
    """Regression onto the ends of the teacher's paths (2101.02388), which the data hold."""

    def losses(self, batch, draw):
        path = batch.tensors["path"]
        start = path[:, 0].float()
        guess = self.student.predict_x0(start, at(1000, batch, start), batch.condition_of(self.student))
        yield StagedLoss("student", "paths", squared(guess, path[:, -1].float()))
