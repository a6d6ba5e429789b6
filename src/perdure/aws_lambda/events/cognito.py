"""Triggers of Cognito user pools, and the sync trigger of identity pools ("Customizing user pool workflows").

A trigger returns the event that it got, with `response` filled in::

    async def confirm(event: LambdaEvent[CognitoPreSignUpEvent]) -> CognitoPreSignUpEvent:
        event.payload.response.auto_confirm_user = True
        return event.payload
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from perdure.aws_lambda.events.structure import AwsObject, Event

__all__ = [
    "CallerContext",
    "Challenge",
    "ClaimsAndScopeOverride",
    "ClaimsOverride",
    "CognitoCreateChallengeEvent",
    "CognitoCustomMessageEvent",
    "CognitoCustomSenderEvent",
    "CognitoDefineChallengeEvent",
    "CognitoEvent",
    "CognitoPostAuthenticationEvent",
    "CognitoPostConfirmationEvent",
    "CognitoPreAuthenticationEvent",
    "CognitoPreSignUpEvent",
    "CognitoPreTokenEvent",
    "CognitoPreTokenV2Event",
    "CognitoRequest",
    "CognitoResponse",
    "CognitoSyncEvent",
    "CognitoTrigger",
    "CognitoUserMigrationEvent",
    "CognitoVerifyChallengeEvent",
    "CreateChallengeResponse",
    "CustomMessageResponse",
    "DefineChallengeResponse",
    "GroupConfiguration",
    "PreSignUpResponse",
    "PreTokenResponse",
    "PreTokenV2Response",
    "SyncRecord",
    "TokenGeneration",
    "UserMigrationResponse",
    "VerifyChallengeResponse",
]


class CallerContext(AwsObject, kw_only=True):
    """The program that asked."""

    aws_sdk_version: str | None = None
    client_id: str | None = None


class Challenge(AwsObject, kw_only=True):
    """A challenge that the user was set before, and how that went."""

    challenge_name: str
    challenge_result: bool
    challenge_metadata: str | None = None


class GroupConfiguration(AwsObject, kw_only=True):
    """Groups and roles of the user."""

    groups_to_override: list[str] | None = None
    iam_roles_to_override: list[str] | None = None
    preferred_role: str | None = None


class CognitoRequest(AwsObject, kw_only=True):
    """What a trigger is asked about; which fields there are depends on the trigger.

    Attributes:
        user_attributes: of the user, `email` and the like; values are text.
        code: of the sender triggers: encrypted with the key of the user pool.
    """

    user_attributes: dict[str, str] | None = None
    validation_data: dict[str, str] | None = None
    client_metadata: dict[str, str] | None = None
    user_not_found: bool | None = None
    new_device_used: bool | None = None
    group_configuration: GroupConfiguration | None = None
    scopes: list[str] | None = None
    session: list[Challenge] | None = None
    challenge_name: str | None = None
    challenge_answer: str | None = None
    private_challenge_parameters: dict[str, str] | None = None
    password: str | None = None
    code_parameter: str | None = None
    link_parameter: str | None = None
    username_parameter: str | None = None
    type: str | None = None
    code: str | None = None


class CognitoResponse(AwsObject, kw_only=True):
    """What a trigger answers. Most triggers answer nothing, except by failing."""


class PreSignUpResponse(CognitoResponse, kw_only=True):
    """What is done for the user at once."""

    auto_confirm_user: bool | None = None
    auto_verify_email: bool | None = None
    auto_verify_phone: bool | None = None


class ClaimsOverride(AwsObject, kw_only=True):
    """Claims of the identity token."""

    claims_to_add_or_override: dict[str, str] | None = None
    claims_to_suppress: list[str] | None = None
    group_override_details: GroupConfiguration | None = None


class PreTokenResponse(CognitoResponse, kw_only=True):
    """What goes into the identity token."""

    claims_override_details: ClaimsOverride | None = None


class TokenGeneration(AwsObject, kw_only=True):
    """Claims and scopes of one token; identity tokens have no scopes."""

    claims_to_add_or_override: dict[str, Any] | None = None
    claims_to_suppress: list[str] | None = None
    scopes_to_add: list[str] | None = None
    scopes_to_suppress: list[str] | None = None


class ClaimsAndScopeOverride(AwsObject, kw_only=True):
    """Claims and scopes of both tokens."""

    id_token_generation: TokenGeneration | None = None
    access_token_generation: TokenGeneration | None = None
    group_override_details: GroupConfiguration | None = None


class PreTokenV2Response(CognitoResponse, kw_only=True):
    """What goes into the identity token and the access token."""

    claims_and_scope_override_details: ClaimsAndScopeOverride | None = None


class DefineChallengeResponse(CognitoResponse, kw_only=True):
    """How sign-in goes on: with a challenge, with tokens, or not."""

    challenge_name: str | None = None
    issue_tokens: bool | None = None
    fail_authentication: bool | None = None


class CreateChallengeResponse(CognitoResponse, kw_only=True):
    """The challenge."""

    public_challenge_parameters: dict[str, str] | None = None
    private_challenge_parameters: dict[str, str] | None = None
    challenge_metadata: str | None = None


class VerifyChallengeResponse(CognitoResponse, kw_only=True):
    """Whether the answer is right."""

    answer_correct: bool | None = None


class UserMigrationResponse(CognitoResponse, kw_only=True):
    """The user as the old directory knows it."""

    user_attributes: dict[str, str] | None = None
    final_user_status: str | None = None
    message_action: str | None = None
    desired_delivery_mediums: list[str] | None = None
    force_alias_creation: bool | None = None
    enable_sms_mfa: bool | None = msgspec.field(default=None, name="enableSMSMFA")


class CustomMessageResponse(CognitoResponse, kw_only=True):
    """The message in place of Cognito's."""

    sms_message: str | None = None
    email_message: str | None = None
    email_subject: str | None = None


class CognitoTrigger(Event, kw_only=True):
    """What all triggers of user pools have in common.

    Attributes:
        trigger_source: which trigger, and why: `PreSignUp_AdminCreateUser`.
    """

    source: ClassVar[str] = "a Cognito user pool"

    trigger_source: str
    user_pool_id: str
    request: CognitoRequest
    version: str | None = None
    region: str | None = None
    user_name: str | None = None
    caller_context: CallerContext | None = None


class CognitoEvent(CognitoTrigger, kw_only=True):
    """A trigger that answers nothing, or that has no class of its own."""

    response: CognitoResponse | None = None


class CognitoPreSignUpEvent(CognitoTrigger, kw_only=True):
    """Somebody signs up."""

    response: PreSignUpResponse


class CognitoPostConfirmationEvent(CognitoEvent, kw_only=True):
    """A user, or a new password, was confirmed."""


class CognitoPreAuthenticationEvent(CognitoEvent, kw_only=True):
    """A user is about to sign in."""


class CognitoPostAuthenticationEvent(CognitoEvent, kw_only=True):
    """A user has signed in."""


class CognitoPreTokenEvent(CognitoTrigger, kw_only=True):
    """Tokens are about to be issued (version 1 of the event)."""

    response: PreTokenResponse


class CognitoPreTokenV2Event(CognitoTrigger, kw_only=True):
    """Tokens are about to be issued (versions 2 and 3 of the event)."""

    response: PreTokenV2Response


class CognitoDefineChallengeEvent(CognitoTrigger, kw_only=True):
    """What is the next challenge?"""

    response: DefineChallengeResponse


class CognitoCreateChallengeEvent(CognitoTrigger, kw_only=True):
    """A challenge is to be made."""

    response: CreateChallengeResponse


class CognitoVerifyChallengeEvent(CognitoTrigger, kw_only=True):
    """The answer to a challenge is to be judged."""

    response: VerifyChallengeResponse


class CognitoUserMigrationEvent(CognitoTrigger, kw_only=True):
    """A user is not in the pool, and may be in an old directory."""

    response: UserMigrationResponse


class CognitoCustomMessageEvent(CognitoTrigger, kw_only=True):
    """A message is about to be sent."""

    response: CustomMessageResponse


class CognitoCustomSenderEvent(CognitoEvent, kw_only=True):
    """A mail or text message is to be sent by this function."""


class SyncRecord(AwsObject, kw_only=True):
    """What became of one key of a dataset."""

    op: str
    new_value: str | None = None
    old_value: str | None = None


class CognitoSyncEvent(Event, kw_only=True):
    """A dataset of an identity pool is synchronised."""

    source: ClassVar[str] = "Cognito Sync"

    event_type: str
    identity_pool_id: str
    identity_id: str
    dataset_name: str
    dataset_records: dict[str, SyncRecord]
    version: int | None = None
    region: str | None = None
